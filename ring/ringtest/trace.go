package ringtest

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/internal/wire"
)

// hash sums up a run: every event with its time, every effect, every byte sent.
type hash uint64

func (h *hash) word(x uint64) {
	v := (uint64(*h) ^ x) * 0x9fb21c651e98df25
	*h = hash(v ^ v>>28)
}

func (h *hash) bytes(b []byte) {
	for ; len(b) >= 8; b = b[8:] {
		h.word(binary.LittleEndian.Uint64(b))
	}
	tail := uint64(len(b)) << 56
	for i, c := range b {
		tail |= uint64(c) << (8 * i)
	}
	h.word(tail)
}

// traceKept is how many of the last lines a failure carries.
const traceKept = 400

// tracer writes one line for each step, if anybody reads them.
type tracer struct {
	out  io.Writer
	keep bool
	line strings.Builder
	last []string // ring buffer
	next int
}

func (t *tracer) on() bool { return t.out != nil || t.keep }

func (t *tracer) put(line string) {
	if t.out != nil {
		fmt.Fprintln(t.out, line)
	}
	if !t.keep {
		return
	}
	if len(t.last) < traceKept {
		t.last = append(t.last, line)
		return
	}
	t.last[t.next] = line
	t.next = (t.next + 1) % traceKept
}

func (t *tracer) lines() []string {
	return append(append([]string(nil), t.last[t.next:]...), t.last[:t.next]...)
}

// say is a line about something that happened to a host, or to the world (nil).
func (w *World) say(h *host, format string, args ...any) {
	if !w.trace.on() {
		return
	}
	w.flushLine()
	who := "world"
	if h != nil {
		who = w.name(h.index)
	}
	w.trace.put(fmt.Sprintf("%s %-5s * %s", stamp(w.now), who, fmt.Sprintf(format, args...)))
}

func stamp(ns int64) string { return fmt.Sprintf("%11.6f", float64(ns)/1e9) }

func span(ns int64) time.Duration { return time.Duration(ns).Round(10 * time.Microsecond) }

// note hashes an event and begins its line.
func (w *World) note(h *host, ev *core.Event) {
	w.hash.word(uint64(w.now))
	w.hash.word(uint64(h.index)<<32 | uint64(ev.Kind)<<8 | uint64(ev.Cause))
	w.hash.word(uint64(ev.Conn))
	if !w.trace.on() {
		return
	}
	w.flushLine()
	fmt.Fprintf(&w.trace.line, "%s %-5s ", stamp(w.now), w.name(h.index))
	text := ""
	switch ev.Kind {
	case core.Start:
		text = "start"
	case core.Timer:
		text = "timer"
	case core.Dialed:
		text = "dialed s" + fmt.Sprint(ev.Peer)
	case core.DialFailed:
		text = fmt.Sprintf("dial of s%d failed (%s)", ev.Peer, causeNames[ev.Cause])
	case core.Accepted:
		text = "accepted from " + w.other(ev.Conn)
	case core.Received:
		text = fmt.Sprintf("from %s: %s", w.other(ev.Conn), msgText(ev.Msg))
	case core.Broken:
		text = "broken: link with " + w.other(ev.Conn)
	case core.Leave:
		text = "leave"
	case core.Propose:
		text = fmt.Sprintf("propose %d: kind %d of %s", ev.Seq, ev.Command.Kind, ev.Command.Key)
	case core.Read:
		text = fmt.Sprintf("read %d", ev.Seq)
	case core.Cancel:
		text = fmt.Sprintf("cancel %d", ev.Seq)
	case core.Reserved:
		text = fmt.Sprintf("reserved ticks below %d", ev.Seq)
	case core.Persisted:
		text = fmt.Sprintf("persisted %d", ev.Seq)
	case core.Board:
		text = fmt.Sprintf("board %s, %d bytes", ev.Riders[0].Topic, len(ev.Riders[0].Payload))
	case core.Worked:
		text = fmt.Sprintf("worked %d: %d values", ev.Seq, len(ev.Values))
	}
	w.trace.line.WriteString(text)
}

var causeNames = [...]string{"", "refused", "unanswered", "unresolved", "not a ring"}

// other names who is at the far end of a connection.
func (w *World) other(id core.ConnID) string {
	ref := int32(uint32(id))
	return w.name(w.links[ref/2].end[1-ref%2].host)
}

// noteEffect hashes an effect and adds it to the line of its event.
func (w *World) noteEffect(h *host, fx *core.Effect) {
	w.hash.word(uint64(fx.Kind)<<32 | uint64(uint32(fx.Peer)))
	w.hash.word(uint64(fx.Conn))
	w.hash.word(uint64(fx.RTT))
	if fx.Kind == core.Tell {
		w.hash.bytes([]byte(fx.Report.Kind))
		w.hash.word(uint64(fx.Report.Subject))
	}
	if !w.trace.on() || fx.Kind == core.Echoed { // the heartbeat says it
		return
	}
	text := ""
	switch fx.Kind {
	case core.Send:
		text = fmt.Sprintf("to %s: %s", w.other(fx.Conn), msgText(fx.Msg))
	case core.Dial:
		text = fmt.Sprintf("dial s%d", fx.Peer)
	case core.Close:
		text = "close " + w.other(fx.Conn)
	case core.Save:
		text = fmt.Sprintf("save inc %d epoch %s", fx.Saved.Incarnation, epochText(fx.Saved.Epoch))
	case core.Reserve:
		text = fmt.Sprintf("reserve ticks below %d", fx.Saved.Ceiling)
	case core.Passed:
		text = fmt.Sprintf("PASSED %s lap %d tick %d anchored %v", epochText(fx.Tick.Epoch),
			fx.Tick.Lap, fx.Tick.Tick, fx.Tick.Anchored)
	case core.Tell:
		text = "TELL " + reportText(&fx.Report)
	case core.Gone:
		text = "gone"
	case core.Settled:
		text = fmt.Sprintf("settled %d: code %d revision %d fence %d", fx.Seq, fx.Result.Code,
			fx.Result.Rev, fx.Result.Fence)
	case core.Readable:
		text = fmt.Sprintf("readable %d", fx.Seq)
	case core.Denied:
		text = fmt.Sprintf("denied %d: why %d", fx.Seq, fx.Why)
	case core.Persist:
		text = fmt.Sprintf("persist %d", fx.Seq)
	case core.Boarding:
		text = fmt.Sprintf("boarding %d", fx.Seq)
	case core.Full, core.Seats:
		text = fmt.Sprintf("full: %v", fx.Kind == core.Full)
	case core.Work:
		text = fmt.Sprintf("work %d on %d for %v", fx.Seq, len(fx.Visit.Delivered), fx.Within)
	case core.Visited:
		text = fmt.Sprintf("visited: moved %v, %d delivered, %d home", fx.Visit.Moved,
			len(fx.Visit.Delivered), len(fx.Visit.Home))
	case core.Fatal:
		text = "FATAL " + fx.Report.Text
	}
	w.trace.line.WriteString("\n                     → " + text)
}

func (w *World) flushLine() {
	if w.trace.line.Len() > 0 {
		w.trace.put(w.trace.line.String())
		w.trace.line.Reset()
	}
}

func epochText(e wire.Epoch) string {
	if e.Detached() {
		return fmt.Sprintf("%d+%d.%d", e.Number, e.Counter, e.Dropper)
	}
	return fmt.Sprintf("%d.%d", e.Number, e.Dropper)
}

// reportText is a report on one line, without what only this process knows.
func reportText(r *core.Report) string {
	var b strings.Builder
	b.WriteString(string(r.Kind))
	if r.Subject >= 0 {
		fmt.Fprintf(&b, " s%d", r.Subject)
	}
	for _, i := range r.Also {
		fmt.Fprintf(&b, " s%d", i)
	}
	if len(r.By) > 0 {
		b.WriteString(" by")
		for _, i := range r.By {
			fmt.Fprintf(&b, " s%d", i)
		}
	}
	if r.Incarnation > 0 {
		fmt.Fprintf(&b, " incarnation %d", r.Incarnation)
	}
	if r.Epoch != (wire.Epoch{}) {
		fmt.Fprintf(&b, " epoch %s", epochText(r.Epoch))
	}
	if r.Proof {
		b.WriteString(" proven")
	}
	if r.Tick > 0 {
		fmt.Fprintf(&b, " tick %d", r.Tick)
	}
	if r.Skipped > 0 {
		fmt.Fprintf(&b, " skipped %d", r.Skipped)
	}
	if r.Revision > 0 {
		fmt.Fprintf(&b, " revision %d", r.Revision)
	}
	if r.Wait > 0 {
		fmt.Fprintf(&b, " %v", r.Wait.Round(time.Millisecond))
	}
	if r.Text != "" {
		fmt.Fprintf(&b, " (%s)", r.Text)
	}
	return b.String()
}

func msgText(m wire.Msg) string {
	switch m := m.(type) {
	case *wire.Hello:
		return fmt.Sprintf("hello from s%d inc %d boot %x was %d; %s", m.From, m.Incarnation,
			m.Boot, m.Was, beatText(&m.Beat))
	case *wire.Refuse:
		return fmt.Sprintf("refuse %d: %s", m.Code, m.Text)
	case *wire.Beat:
		return beatText(m)
	case *wire.Flood:
		return floodText("flood", m.Records)
	case *wire.Sealed:
		return floodText("sealed", m.Records)
	case *wire.Shown:
		return floodText("shown", m.Records)
	case *wire.Keys:
		return fmt.Sprintf("keys, %d", len(m.Chains))
	case *wire.Show:
		return fmt.Sprintf("show %v", m.Marks)
	case *wire.Vouched:
		return fmt.Sprintf("vouched from s%d to s%d, relayed %v", m.From, m.To, m.Relayed)
	case *wire.Cut:
		return fmt.Sprintf("cut %v", m.Marks)
	case *wire.Sync:
		return fmt.Sprintf("sync rank %v down %v", m.Rank, m.Down)
	case *wire.Particle:
		return fmt.Sprintf("particle %s lap %d anchored %v %v%s", epochText(m.Epoch), m.Lap, m.Anchored,
			m.Stamps[:m.Voters], trainText(m))
	case *wire.Hurry:
		return fmt.Sprintf("hurry to s%d, epoch %s lap %d", m.Stop, epochText(m.Epoch), m.Lap)
	case *wire.Relay:
		return fmt.Sprintf("relay s%d→s%d relayed %v, %d bytes", m.From, m.To, m.Relayed, len(m.Frame))
	case *wire.Bye:
		return "bye: " + m.Text
	case *wire.Raft:
		var r raftpb.Message
		if proto.Unmarshal(m.Payload, &r) == nil {
			return fmt.Sprintf("raft %v term %d index %d/%d commit %d, %d entries, reject %v", r.GetType(),
				r.GetTerm(), r.GetIndex(), r.GetLogTerm(), r.GetCommit(), len(r.GetEntries()), r.GetReject())
		}
	case *wire.Status:
		return fmt.Sprintf("status %x era %d applied %d log %d yours %d leader %d term %d blank %v",
			m.History[:4], m.Era, m.Applied, m.Log, m.Yours, int(m.Leader)-1, m.Term, m.Blank)
	case *wire.Entries:
		return fmt.Sprintf("entries from %d, %d of them", m.First, len(m.Entries))
	case *wire.Pull:
		return fmt.Sprintf("pull from %d state %v want %d at %d", m.From, m.State, m.Want, m.Offset)
	case *wire.Chunk:
		return fmt.Sprintf("chunk of %d: %d of %d", m.Index, m.Offset, m.Total)
	}
	return fmt.Sprintf("%T", m)
}

// trainText is who is aboard.
func trainText(p *wire.Particle) string {
	t := p.Train
	if t == nil {
		return fmt.Sprintf(" base %d", p.Line.Base)
	}
	var b strings.Builder
	fmt.Fprintf(&b, " base %d, spent %d us", p.Line.Base, t.SpentUS)
	if l := t.Level; l != nil {
		fmt.Fprintf(&b, ", levels until lap %d at s%d as of %s lap %d", l.Lap, l.Stop, epochText(l.Epoch),
			l.AsLap)
	}
	for i := range min(len(t.Riders), 8) {
		r := &t.Riders[i]
		fmt.Fprintf(&b, " [%v since lap %d s%d]", r.CastID, r.Lap, r.Stop)
	}
	fmt.Fprintf(&b, " %d aboard", len(t.Riders))
	return b.String()
}

func beatText(b *wire.Beat) string {
	return fmt.Sprintf("beat %d echo %d records %04x view %04x rank %v you %v", b.Seq, b.Echo,
		b.Records&0xffff, b.View&0xffff, b.Rank, b.You)
}

func floodText(what string, records []wire.Record) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s of %d", what, len(records))
	for i := range min(len(records), 8) {
		r := &records[i]
		fmt.Fprintf(&b, " [s%d %d/%d left %v accuses", r.Origin, r.Incarnation, r.Seq, r.Left)
		for _, a := range r.Accused {
			fmt.Fprintf(&b, " s%d@%d", a.Subject, a.Incarnation)
			if a.Proof {
				b.WriteByte('!')
			}
		}
		b.WriteByte(']')
	}
	return b.String()
}
