package ringtest

import (
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"ringofservers.dev/ring/internal/consensus"
	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/internal/wire"
)

// Lie is one way in which a member that has gone bad does not do as it should. It has a
// certificate of its own, and nobody else's key.
type Lie string

// Lies there are.
const (
	LieAccuse   Lie = "accuse"   // says of others, in its own name, that it cannot reach them
	LieNames    Lie = "names"    // writes records of others, under its own seal, theirs or none
	LieReplay   Lie = "replay"   // sends again what was sent before, by itself and by others
	LieVerdict  Lie = "verdict"  // says that others are dead, as a quorum, and shows what it has itself
	LieBeats    Lie = "beats"    // tells others what they are not, in its heartbeats
	LieFlood    Lie = "flood"    // sends far too much
	LieMutate   Lie = "mutate"   // sends what is hardly a frame
	LieRaft     Lie = "raft"     // speaks for other voters, straight and through a relay
	LieParticle Lie = "particle" // makes particles up
	LieTaken    Lie = "taken"    // says that the other end's name is taken
	LieSteal    Lie = "steal"    // passes on what others relay, changed
	LieGreeting Lie = "greeting" // has seen ticks and epochs that nobody has
)

// Lies lists them.
func Lies() []Lie {
	return []Lie{
		LieAccuse, LieNames, LieReplay, LieVerdict, LieBeats, LieFlood, LieMutate, LieRaft, LieParticle,
		LieTaken, LieSteal, LieGreeting,
	}
}

// ParseLies reads a list such as accuse,names; all stands for all.
func ParseLies(list string) ([]Lie, error) {
	var out []Lie
	for name := range strings.SplitSeq(list, ",") {
		switch {
		case name == "":
		case name == "all":
			out = append(out, Lies()...)
		case slices.Contains(Lies(), Lie(name)):
			out = append(out, Lie(name))
		default:
			return nil, fmt.Errorf("lie %q is unknown; there are all, %v", name, Lies())
		}
	}
	return out, nil
}

// liar is what a host has that lies.
type liar struct {
	lies  []Lie
	dice  dice
	seq   uint32
	heard [][]byte // frames, to be sent again
}

const (
	// lieEvery is the pause between two lies that nobody has asked for.
	lieEvery = 20 * ms
	// heardMax is how many frames a liar keeps.
	heardMax = 256
)

// planLies makes a liar of one host, once the ring has formed, and ends it when the time
// of faults is over.
func (w *World) planLies() {
	lies, _ := ParseLies(w.opt.Lies) // withDefaults has seen to errors
	if len(lies) == 0 {
		return
	}
	d := dice(mix(w.seed, forLies))
	w.bad = int32(d.below(int64(len(w.hosts))))
	h := &w.hosts[w.bad]
	h.liar = &liar{lies: lies, dice: d, seq: 1 << 20}
	from := w.opt.spread() + int64(w.formBound()) + 2*second
	w.agenda.push(from, atLie, w.bad, 0)
	w.expect(from+int64(w.opt.Duration), func() { w.kill(h, false) })
}

// lying reports whether h does, now.
func (h *host) lying(l Lie) bool {
	return h.liar != nil && h.liar.heard != nil && slices.Contains(h.liar.lies, l)
}

// lieTurn is a moment of the liar's.
func (w *World) lieTurn(h *host) {
	if h.core == nil {
		return
	}
	if h.liar.heard == nil {
		h.liar.heard = [][]byte{}
	}
	l := h.liar
	if h.core.Head().Joined {
		n := 1
		lie := l.lies[l.dice.below(int64(len(l.lies)))]
		if lie == LieFlood {
			n, lie = 200, l.lies[l.dice.below(int64(len(l.lies)))]
		}
		for range n {
			w.lie(h, lie)
		}
	}
	w.agenda.push(w.now+l.dice.below(2*lieEvery), atLie, h.index, 0)
}

// ends are the open ends of h's links.
func (w *World) ends(h *host) (refs []int32) {
	for i := range w.links {
		for side := range w.links[i].end {
			if e := &w.links[i].end[side]; w.links[i].used && e.open && e.host == h.index && e.life == h.life {
				refs = append(refs, int32(2*i+side))
			}
		}
	}
	return refs
}

// lie tells one on some link.
func (w *World) lie(h *host, kind Lie) {
	refs := w.ends(h)
	if len(refs) == 0 {
		return
	}
	d := &h.liar.dice
	ref := refs[d.below(int64(len(refs)))]
	other := w.links[ref/2].end[1-ref%2].host
	for _, m := range w.lieOf(h, kind, int(other)) {
		if m == nil {
			continue
		}
		w.transmit(ref, segment{buf: w.encoded(m), bulk: wire.Bulk(m)})
	}
	switch heard := h.liar.heard; {
	case kind == LieReplay && len(heard) > 0:
		old := heard[d.below(int64(len(heard)))]
		w.transmit(ref, segment{buf: append([]byte(nil), old...)})
	case kind == LieMutate && len(heard) > 0:
		bad := append([]byte(nil), heard[d.below(int64(len(heard)))]...)
		for range 1 + d.below(4) {
			if at := wire.HeaderLen + d.below(int64(len(bad)-wire.HeaderLen)); at < int64(len(bad)) {
				bad[at] ^= byte(1 + d.below(255))
			}
		}
		w.transmit(ref, segment{buf: bad})
	}
}

// victim is somebody else.
func (w *World) victim(h *host) int {
	i := h.liar.dice.below(int64(len(w.hosts) - 1))
	if i >= int64(h.index) {
		i++
	}
	return int(i)
}

// sealed signs r as h, whatever it says of whose it is.
func (w *World) sealed(h *host, r wire.Record) wire.Record {
	body := wire.RecordBody(nil, &r)
	text := wire.RecordText(nil, w.roster.Ring, body)
	r.Seal = wire.Seal{Key: wire.KeyOf(h.proof.chain), Sig: h.proof.signed(text), Body: body}
	return r
}

// lieOf is what is sent for a lie, to another.
func (w *World) lieOf(h *host, kind Lie, other int) []wire.Msg {
	d := &h.liar.dice
	v := w.victim(h)
	inc := h.core.Row(v).Incarnation
	mine := wire.Record{
		Origin: uint32(h.index), Incarnation: h.core.Row(int(h.index)).Incarnation, Boot: w.bootOf(h),
		PID: 1, Build: "liar",
	}
	keys := &wire.Keys{Chains: [][]byte{h.proof.chain}}
	switch kind {
	case LieAccuse, LieFlood:
		h.liar.seq++
		mine.Seq = h.liar.seq
		for range 1 + d.below(3) {
			x := w.victim(h)
			if !slices.ContainsFunc(mine.Accused, func(a wire.Accusation) bool { return int(a.Subject) == x }) {
				mine.Accused = append(mine.Accused, wire.Accusation{
					Subject: uint32(x), Incarnation: h.core.Row(x).Incarnation, Proof: d.hit(0.5),
				})
			}
		}
		mine.Epoch = wire.Epoch{Number: wire.CounterMax >> d.below(40), Counter: wire.CounterMax >> d.below(60)}
		return []wire.Msg{keys, &wire.Sealed{Records: []wire.Record{w.sealed(h, mine)}}}
	case LieNames:
		r := mine
		r.Origin, r.Incarnation, r.Seq = uint32(v), inc+uint32(d.below(3)), 1<<20+uint32(d.below(1000))
		r.Left, r.Out = d.hit(0.3), d.hit(0.3)
		x := uint32(w.victim(h))
		r.Accused = []wire.Accusation{{Subject: x, Incarnation: h.core.Row(int(x)).Incarnation, Proof: true}}
		if x == r.Origin {
			r.Accused = nil
		}
		r = w.sealed(h, r)
		chain := h.proof.chain
		switch k := w.hosts[v].proof; d.below(3) {
		case 0: // the victim's certificate, which is no secret
			if k != nil {
				chain = k.chain
			}
		case 1: // one of its own making
			chain = append([]byte(nil), chain...)
			chain[3] = byte(v)
		}
		r.Seal.Key = wire.KeyOf(chain)
		msgs := []wire.Msg{&wire.Keys{Chains: [][]byte{chain}}, &wire.Sealed{Records: []wire.Record{r}}}
		if d.hit(0.2) { // without any seal
			return []wire.Msg{&wire.Flood{Records: []wire.Record{r}}}
		}
		return msgs
	case LieVerdict:
		var marks []wire.Mark
		for i := range w.hosts {
			if i != int(h.index) && d.hit(0.5) {
				marks = append(marks, wire.Mark{
					Subject: uint32(i), Incarnation: h.core.Row(i).Incarnation + uint32(d.below(2)),
				})
			}
		}
		h.liar.seq++
		mine.Seq = h.liar.seq
		for _, m := range marks {
			mine.Accused = append(mine.Accused, wire.Accusation{Subject: m.Subject, Incarnation: m.Incarnation})
		}
		forged := mine
		forged.Origin = uint32(v)
		rank := wire.Rank{Quorum: true, Alive: uint16(len(w.hosts)), Min: 0}
		shown := []wire.Record{w.sealed(h, mine)}
		if d.hit(0.2) {
			shown = append(shown, w.sealed(h, forged))
		}
		return []wire.Msg{
			&wire.Cut{Marks: marks}, &wire.Sync{Rank: rank, Down: marks}, keys,
			&wire.Shown{Records: shown}, &wire.Cut{Marks: marks}, &wire.Sync{Rank: rank, Down: marks},
			&wire.Show{Marks: marks},
		}
	case LieRaft:
		return w.raftLies(h, v, other)
	case LieParticle:
		e, lap, _, _, ok := h.core.Particle()
		if !ok {
			return nil
		}
		b := h.core.State().Epoch()
		p := &wire.Particle{
			Epoch: e, Lap: lap + uint64(d.below(4)), Base: b.Base, Limit: b.Limit, Anchored: true, Conf: 1 << 40,
		}
		switch d.below(6) {
		case 0:
			p.Base += uint64(d.below(1000))
		case 1:
			p.Lap += wire.CounterMax >> d.below(62)
		case 2:
			p.Epoch = wire.Epoch{Number: e.Number + 1 + uint64(d.below(3)), Dropper: uint32(v)}
		case 3:
			p.Epoch.Number += wire.CounterMax >> d.below(62)
		case 4:
			p.Limit = wire.CounterMax >> d.below(62)
			p.Lap += p.Limit / 2
		case 5:
			p.Epoch.Counter = 1 + uint64(d.below(1<<61))
		}
		if p.Epoch.Number > wire.CounterMax || p.Lap > wire.CounterMax {
			return nil
		}
		return []wire.Msg{p}
	case LieTaken:
		return []wire.Msg{&wire.Refuse{Code: wire.RefuseTaken, Text: "a lie"}}
	}
	return nil
}

// raftLies speak for voter v.
func (w *World) raftLies(h *host, v, other int) []wire.Msg {
	d := &h.liar.dice
	id := h.core.BusView()
	to := uint64(consensus.NewRaftID(other, 1))
	types := []raftpb.MessageType{
		raftpb.MsgHeartbeat, raftpb.MsgApp, raftpb.MsgVote, raftpb.MsgVoteResp, raftpb.MsgAppResp, raftpb.MsgTimeoutNow,
	}
	msg := &raftpb.Message{
		Type: types[d.below(int64(len(types)))].Enum(), To: new(to), From: new(uint64(consensus.NewRaftID(v, 1))),
		Term: new(id.Term + uint64(d.below(3))), Index: new(id.Applied), LogTerm: new(id.Term),
		Commit: new(id.Applied),
	}
	b, err := proto.Marshal(msg)
	if err != nil {
		return nil
	}
	raft := &wire.Raft{History: id.History, Payload: b}
	frame := wire.Append(nil, raft)[wire.HeaderLen:]
	r := wire.Relay{From: uint32(v), To: uint32(other), Relayed: true, Frame: frame}
	switch d.below(4) {
	case 0:
		return []wire.Msg{raft}
	case 1:
		r.From = uint32(h.index)
	case 2:
		r.Relayed = false
	}
	sig := h.proof.signed(wire.RelayText(nil, w.roster.Ring, &r))
	out := &wire.Vouched{Relay: r, Key: wire.KeyOf(h.proof.chain), Sig: sig}
	if d.hit(0.2) {
		return []wire.Msg{&r}
	}
	return []wire.Msg{&wire.Keys{Chains: [][]byte{h.proof.chain}}, out}
}

// bent is what a liar sends in place of m.
func (w *World) bent(h *host, m wire.Msg) wire.Msg {
	l := h.liar
	switch m := m.(type) {
	case *wire.Beat:
		if h.lying(LieBeats) {
			b := *m
			w.bendBeat(h, &b)
			return &b
		}
	case *wire.Hello:
		b := *m
		if h.lying(LieBeats) {
			w.bendBeat(h, &b.Beat)
		}
		if h.lying(LieGreeting) {
			b.Floor = wire.CounterMax >> l.dice.below(60)
			b.Linked = wire.RosterMax
		}
		if h.lying(LieTaken) && l.dice.hit(0.5) {
			return &wire.Refuse{Code: wire.RefuseTaken, Text: "a lie"}
		}
		return &b
	case *wire.Vouched:
		if h.lying(LieSteal) && int32(m.From) != h.index {
			b := *m
			b.Frame = append([]byte(nil), m.Frame...)
			b.Frame[len(b.Frame)-1] ^= 1
			return &b
		}
	}
	return m
}

func (w *World) bendBeat(h *host, b *wire.Beat) {
	d := &h.liar.dice
	b.Rank = wire.Rank{Quorum: d.hit(0.8), Alive: uint16(d.below(1 << 14)), Min: 0}
	if d.hit(0.5) {
		b.Records, b.View = uint32(d.next()), uint32(d.next())
	}
	switch d.below(4) {
	case 0:
		b.You.State, b.You.Damped = wire.Down, 1<<16-1
	case 1:
		b.You.Incarnation += uint32(d.below(1 << 20))
	case 2:
		b.You.State, b.You.Boot, b.You.Incarnation = wire.State(d.below(4)), uint32(d.next()), b.You.Incarnation+9
	}
}

// overhear keeps a frame that the liar has sent or got.
func (h *host) overhear(buf []byte) {
	l := h.liar
	if l == nil || l.heard == nil || len(buf) <= wire.HeaderLen {
		return
	}
	// What another history is, and from where on it holds, any instance may say, as an
	// operator makes one with `ring bus recover`: nothing else keeps it from that. And who
	// votes may break what the engine relies on: that is not meant to bear liars.
	switch wire.Kind(buf[wire.HeaderLen]) {
	case wire.KindStatus, wire.KindRaft, wire.KindChunk, wire.KindEntries:
		return
	}
	if len(l.heard) < heardMax {
		l.heard = append(l.heard, append([]byte(nil), buf...))
		return
	}
	l.heard[l.dice.below(heardMax)] = append([]byte(nil), buf...)
}

// honest reports whether a host is one that does as it should.
func (w *World) honest(i int) bool { return w.bad < 0 || i >= 0 && i != int(w.bad) }

// checkLied is R3: where there is nothing but a liar, nobody honest is taken for dead or
// gone, nor comes back, nor calls itself cut off, and none is said to have forged anything.
func (w *World) checkLied(h *host, r *core.Report) {
	if w.bad < 0 || h.index == w.bad || !w.watch.formed || h.liar != nil {
		return
	}
	switch r.Kind {
	case core.Died, core.Unreached, core.Parted, core.Returned, core.Forging:
		if w.honest(r.Subject) {
			w.fail("R3", "s%d, which nobody troubles but a liar: %s", h.index, reportText(r))
		}
	case core.Joined, core.CutOff, core.Damped:
		w.fail("R3", "s%d, which nobody troubles but a liar: %s", h.index, reportText(r))
	}
}

// checkWorn is that no counter of anybody has been worn out.
func (w *World) checkWorn() {
	if w.bad < 0 {
		return
	}
	const most = 1<<54 + 1<<40
	for i := range w.hosts {
		h := &w.hosts[i]
		if h.core == nil || w.failure != nil {
			continue
		}
		e := h.core.State().Epoch()
		if h.disk.Ceiling > most || h.disk.Epoch.Number > most || h.disk.Epoch.Counter > most ||
			e.Number > most || e.Limit > most {
			w.fail("R3", "s%d has %+v on disk and epoch %+v: a liar has worn out a counter", i, h.disk, e)
		}
	}
}
