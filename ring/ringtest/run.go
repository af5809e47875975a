package ringtest

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"

	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/internal/wire"
)

const (
	alive = wire.Alive
	left  = wire.Left
)

// Options say which run it is. The same Options give the same run.
type Options struct {
	Seed     uint64
	Nodes    int           // 0: 5
	Faults   string        // see ParseFaults; empty: none
	Schedule []Action      // used instead of drawing one, if not nil
	Duration time.Duration // virtual time in which faults happen, 0: one minute
	Timing   string        // preset: lan (also if empty), wan or quiet
	Hold     time.Duration // rest of the particle at each stop, 0: an even share of a lap
	MaxSpeed bool          // no rest
	Lies     string        // what one instance of the ring lies about, see Lies; empty: none lies
	Memory   bool          // nobody keeps a log on disk; without it, in one seed of five
	Signed   bool          // instances sign what they say, as they do on a ring with TLS
	Trace    io.Writer     // a line for each event, nil for none
	Progress io.Writer     // a line for each second of virtual time, nil for none
	Shrink   bool          // look for the shortest schedule that still fails

	tell  func(*World, *host, *core.Report)
	judge func(*World) // looks back at a run in which nothing failed
	rolls int          // changes of the roster, for each of which there is a host to add
	idle  bool         // nobody uses the fleet
	busy  bool         // clients do, and contenders for leases, whatever the seed
	keep  bool         // the last lines of the trace

	degree   int           // links of each, 0 for what a fleet of its size has
	zones    int           // data centres, one after the other along the roster
	hop      int64         // what every packet takes, 0: what the preset is meant for
	wide     int64         // the same between zones
	patience time.Duration // instead of the preset's, if longer
}

// Failure is an invariant that did not hold.
type Failure struct {
	Invariant string   `json:"invariant"`
	Seed      uint64   `json:"seed"`
	AtMillis  float64  `json:"at_ms"`
	Text      string   `json:"text"`
	Schedule  []string `json:"schedule"`
	Trace     []string `json:"trace,omitempty"`
	Replay    string   `json:"replay"` // the command that does the whole run again
	Alone     string   `json:"alone"`  // the same of Schedule, once it is in FILE
}

// String is everything one needs to look into it.
func (f *Failure) String() string {
	var b strings.Builder
	for _, line := range f.Trace {
		b.WriteString(line + "\n")
	}
	fmt.Fprintf(&b, "%s failed with seed %d at %.3f s: %s\nschedule:\n", f.Invariant, f.Seed,
		f.AtMillis/1e3, f.Text)
	for _, line := range f.Schedule {
		b.WriteString("\t" + line + "\n")
	}
	fmt.Fprintf(&b, "replay: %s\nthe schedule above alone, once it is in FILE: %s", f.Replay, f.Alone)
	return b.String()
}

// Result is what a run came to. Times are virtual.
type Result struct {
	Seed         uint64      `json:"seed"`
	Nodes        int         `json:"nodes"`
	Faults       string      `json:"faults"`
	Timing       string      `json:"timing"`
	BeatMS       float64     `json:"beat_ms"` // the heartbeat interval
	VirtualMS    float64     `json:"virtual_ms"`
	FormedMS     float64     `json:"formed_ms"`      // until all agreed, 0 if faults came before
	FirstLapMS   float64     `json:"first_lap_ms"`   // until every stop was passed
	ConvergedMS  float64     `json:"converged_ms"`   // after the last fault
	LapMS        float64     `json:"lap_ms"`         // mean of the last laps
	Laps         uint64      `json:"laps"`           // passes at the stop that saw most
	ViewChanges  uint64      `json:"view_changes"`   // at the instance that saw most
	Detections   []Detection `json:"detections"`     // of faults that stood alone
	Frames       uint64      `json:"frames"`         // sent by all
	Bytes        uint64      `json:"bytes"`          // sent by all
	IdleBytes    float64     `json:"idle_bytes"`     // per instance and second, sent, at the end
	Steps        uint64      `json:"steps"`          // of cores
	HeapBytes    uint64      `json:"heap_bytes"`     // of this process after the ring formed
	PerRemote    float64     `json:"per_remote"`     // of that, per instance and other instance
	PerRemoteEnd float64     `json:"per_remote_end"` // the same after the last fault
	FormBytes    uint64      `json:"form_bytes"`     // sent by all until the ring had formed
	Schedule     []string    `json:"schedule"`       // what was done
	Hash         string      `json:"hash"`           // of the whole run
	Failure      *Failure    `json:"failure"`        // nil if all invariants held
	PendingLinks int         `json:"pending_links"`  // links at the end
	Counting     int         `json:"counting"`       // instances whose newest lap was a tick
}

// Run plays one run. The error is about Options; a broken invariant is in
// Result.Failure.
func Run(opt Options) (Result, error) {
	opt, err := opt.withDefaults()
	if err != nil {
		return Result{}, err
	}
	w, res, err := play(opt)
	if err != nil || res.Failure == nil {
		return res, err
	}
	if f := res.Failure; opt.Progress != nil {
		fmt.Fprintf(opt.Progress, "%s failed at %.3f s: %s\nonce more, for the trace\n", f.Invariant,
			f.AtMillis/1e3, f.Text)
	}
	script := w.script
	if opt.Shrink {
		script = shrink(opt, script, res.Failure.Invariant)
	}
	again := opt
	again.Schedule, again.keep, again.Trace = nonNil(script), true, nil
	again.Progress = nil
	w, short, err := play(again)
	if err != nil || short.Failure == nil {
		return res, errors.Join(err, errors.New("the failure did not come again"))
	}
	f := short.Failure
	f.Trace, f.Schedule = w.trace.lines(), lines(script)
	f.Replay, f.Alone = opt.replay(), again.replay()
	res.Failure = f
	return res, nil
}

func nonNil(s []Action) []Action {
	if s == nil {
		return []Action{}
	}
	return s
}

func lines(script []Action) []string {
	out := []string{}
	for _, a := range script {
		out = append(out, a.String())
	}
	return out
}

func (o Options) withDefaults() (Options, error) {
	o.Nodes = cmp.Or(o.Nodes, 5)
	o.Duration = cmp.Or(o.Duration, time.Minute)
	o.Timing = cmp.Or(o.Timing, "lan")
	var errs []error
	if o.Nodes < 1 || o.Nodes > wire.RosterMax {
		errs = append(errs, fmt.Errorf("nodes is %d, want 1 to %d", o.Nodes, wire.RosterMax))
	}
	if o.Duration < 0 {
		errs = append(errs, fmt.Errorf("duration is %v, less than zero", o.Duration))
	}
	if _, err := ParseFaults(o.Faults); err != nil {
		errs = append(errs, err)
	}
	if _, err := ParseLies(o.Lies); err != nil {
		errs = append(errs, err)
	}
	if o.Lies != "" {
		o.Signed, o.idle = true, true // what is broadcast and what rides is not signed
		if o.Nodes < 3 {
			errs = append(errs, fmt.Errorf("nodes is %d; of fewer than 3 one liar is half", o.Nodes))
		}
	}
	if _, err := timingOf(o.Timing); err != nil {
		errs = append(errs, err)
	}
	for _, a := range o.Schedule {
		if err := a.valid(o.Nodes + o.rolls); err != nil {
			errs = append(errs, err)
		}
	}
	return o, errors.Join(errs...)
}

// memory reports whether nobody keeps a log in this run: one seed in five.
func (o Options) memory() bool { return o.Memory || o.Seed%5 == 4 && o.rolls == 0 }

// replay is the command that does the same run again.
func (o Options) replay() string {
	s := fmt.Sprintf("ring sim --seed %d --nodes %d --duration %v", o.Seed, o.Nodes, o.Duration)
	if o.Schedule != nil {
		s += " --schedule FILE"
	} else {
		s += " --faults " + cmp.Or(o.Faults, "none")
	}
	if o.Timing != "lan" {
		s += " --timing " + o.Timing
	}
	if o.MaxSpeed {
		s += " --max-speed"
	}
	if o.Hold > 0 {
		s += " --hold " + o.Hold.String()
	}
	if o.Signed {
		s += " --signed"
	}
	if o.Lies != "" {
		s += " --lies " + o.Lies
	}
	return s
}

// script is the schedule of the run.
func (o Options) script(w *World) []Action {
	if o.Schedule != nil {
		script := append([]Action(nil), o.Schedule...)
		for i := range script {
			script[i].stopped = false
		}
		return script
	}
	faults, _ := ParseFaults(o.Faults) // withDefaults has seen to errors
	from := time.Duration(o.spread()) + w.formBound()
	gap := time.Duration(w.timing.quiet()) + 3*time.Second
	return schedule(o.Seed, o.Nodes+o.rolls, faults, from, from+o.Duration, gap)
}

// spread is the time over which the processes start.
func (o Options) spread() int64 {
	switch o.Seed % 3 {
	case 0:
		return 10 * ms
	case 1:
		return 300 * ms
	}
	return 2 * second
}

// formBound is within what a ring has to form once all have started.
func (w *World) formBound() time.Duration {
	b := w.timing.Gather + 6*w.timing.Beat
	if len(w.hosts) > 100 {
		b += 6 * w.timing.Beat
	}
	return b
}

// calmBound is within what it has to be whole after the last fault: the
// longest back-off of a stream or a dial, and R2's heartbeat intervals.
func (w *World) calmBound() time.Duration { return 2*time.Second + 10*w.timing.Beat }

// play does one run without looking back.
func play(opt Options) (*World, Result, error) {
	w, err := newWorld(opt)
	if err != nil {
		return nil, Result{}, err
	}
	w.trace.keep = opt.keep
	w.plan()
	w.planUse()
	res := Result{
		Seed: opt.Seed, Nodes: opt.Nodes, Faults: opt.Faults, Timing: opt.Timing,
		BeatMS: float64(w.timing.Beat) / 1e6, Schedule: lines(w.script),
	}
	w.form(&res)
	w.suffer(&res)
	w.calm(&res)
	w.checkWorn()
	if w.failure == nil && opt.judge != nil {
		opt.judge(w)
	}
	w.sum(&res)
	return w, res, nil
}

// form lets the ring form, unless faults come before.
func (w *World) form(res *Result) {
	start := w.opt.spread()
	bound := start + int64(w.formBound())
	w.watch.forming = bound
	if len(w.script) > 0 && int64(w.script[0].At) < bound {
		w.run(bound)
		w.watch.formed = w.failure == nil
		return
	}
	w.run(start)
	at := w.await("R2", w.formBound())
	res.FormedMS = float64(at) / 1e6
	w.watch.formed = w.failure == nil
	res.FormBytes = w.bytes
	if len(w.hosts) >= 1000 {
		res.HeapBytes, res.PerRemote = w.weigh()
	}
	for w.failure == nil && !w.allPassed() {
		// Disks may take their time over what comes before the first particle.
		since, bound := at, int64(w.formBound())
		if w.watch.dropped > 0 {
			since, bound = max(at, w.watch.dropped), w.firstLapBound()
		}
		if w.now > since+bound {
			w.fail("P1", "not every stop saw the particle %v after the ring was whole", span(w.now-at))
		}
		w.run(w.now + int64(w.timing.Beat)/8)
	}
	res.FirstLapMS = float64(w.now) / 1e6
	w.run(bound - 1) // the first fault may be due then
	w.checkBegun()
	w.run(bound)
}

// checkBegun is that a fleet that has formed agrees on who leads it.
func (w *World) checkBegun() {
	for i := range w.hosts {
		h := &w.hosts[i]
		if h.core == nil || w.failure != nil {
			return
		}
		if v := h.core.BusView(); v.Leader < 0 || v.Leader != w.hosts[0].core.BusView().Leader {
			w.fail("S1", "the ring has formed, and s%d takes %d for the leader (%+v)", i, v.Leader, v)
		}
	}
}

// firstLapBound is within what every stop of a whole ring has seen a particle.
// The first does not rest on its first lap; who starts late may meet it on a
// later one.
func (w *World) firstLapBound() int64 {
	if w.opt.Hold > 0 || w.opt.spread() > 10*ms {
		return 5*w.lapTime() + int64(4*w.timing.Loss)
	}
	bound := 2*int64(len(w.hosts))*w.timing.far + int64(2*w.timing.Loss)
	if w.watch.early { // whom its first lap went past waits for the next
		bound += w.lapTime()
	}
	return bound
}

func (w *World) allPassed() bool {
	for _, i := range w.everybody() {
		if !w.hosts[i].passed {
			return false
		}
	}
	return true
}

// weigh measures what the fleet costs in memory, and that for each instance and
// other instance.
func (w *World) weigh() (heap uint64, perRemote float64) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	n := float64(len(w.hosts))
	return m.HeapAlloc, float64(m.HeapAlloc) / n / n
}

// suffer goes through the schedule.
func (w *World) suffer(*Result) {
	end := int64(0)
	for i := range w.script {
		end = max(end, int64(w.script[i].over()))
	}
	if len(w.script) == 0 && w.rail.rides {
		end = w.now + 5*second
	}
	if w.bad >= 0 {
		end = max(end, w.opt.spread()+int64(w.formBound())+2*second+int64(w.opt.Duration)+2*w.timing.detection())
	}
	if w.opt.rolls > 0 {
		end = max(end, w.opt.spread()+int64(w.formBound()+w.opt.Duration))
	}
	w.run(max(end, w.now))
	w.hushed = true
}

// calm checks that the ring is whole after the last fault, and one particle
// moves in it.
func (w *World) calm(res *Result) {
	if w.failure != nil {
		return
	}
	t := w.timing
	from := w.now
	if w.bad >= 0 { // particles that it made up have to be replaced, and by now that is not hurried
		w.run(w.now + 30*second)
	}
	for range 3 { // what the last fault brought about may still be to come
		res.ConvergedMS = float64(w.await("R2", w.calmBound())-from) / 1e6
		w.run(w.now + 2*t.detection())
		if w.failure != nil || w.settled(w.everybody()) == "" {
			break
		}
	}
	if len(w.hosts) >= 1000 {
		_, res.PerRemoteEnd = w.weigh()
	}
	w.run(w.now + 3*w.lapTime() + int64(4*t.Loss+2*t.Answer) + second)
	set := w.everybody()
	if w.failure != nil || len(set) == 0 {
		return
	}
	w.resting = true
	w.record(true)
	from, sent := w.now, w.bytes
	w.run(w.now + 4*w.lapTime() + second)
	w.record(false)
	if w.failure != nil {
		return
	}
	if text := w.oneParticle(set, from); text != "" {
		w.fail("P1", "after calm: %s", text)
	}
	if text := w.settled(w.everybody()); text != "" {
		w.fail("R2", "whole after calm, and then: %s", text)
	}
	w.checkRosters(set)
	w.checkCounting(set)
	w.checkCasts(set)
	if !w.opt.idle {
		w.checkRides(set)
	}
	seconds := float64(w.now-from) / 1e9
	res.IdleBytes = float64(w.bytes-sent) / seconds / float64(len(set))
	if n := len(w.watch.passes); n > len(set) {
		first, last := w.watch.passes[0], w.watch.passes[n-1]
		res.LapMS = float64(last.at-first.at) / 1e6 / float64(n-1) * float64(len(set))
	}
}

// checkCasts is the end of B1: what one has, all have. Who was away for long waits for
// some digests until it believes that nobody has more.
func (w *World) checkCasts(set []int32) {
	for tries := 0; w.failure == nil; tries++ {
		text := w.castsLevel(set)
		if text == "" {
			text = w.questionsOver()
		}
		if text == "" {
			return
		}
		if tries == 30 {
			w.fail("B1", "half a minute after calm: %s", text)
			return
		}
		w.run(w.now + second)
	}
}

// checkCounting is the other half of P3: a fleet that can agree counts.
func (w *World) checkCounting(set []int32) {
	if len(set) < len(w.hosts) || w.opt.memory() {
		return
	}
	for i := range w.script {
		if f := w.script[i].Fault; f == Blank || f == Odd {
			return // most logs may be lost
		}
	}
	for _, i := range set {
		if h := &w.hosts[i]; !h.counts && !w.mayHaveCounted(h) {
			w.fail("P3", "s%d counts no ticks, with all alive (%+v)", i, h.core.BusView())
		}
	}
}

// mayHaveCounted reports whether a process before the one on h may have counted the ticks of
// now, for all that its disk says: passengers had made laps fast before it ended.
func (w *World) mayHaveCounted(h *host) bool {
	newest := uint64(0)
	for i := range w.hosts {
		if w.hosts[i].counts {
			newest = max(newest, w.hosts[i].tick)
		}
	}
	return newest > 0 && newest <= h.floor
}

func (w *World) sum(res *Result) {
	for i := range w.hosts {
		h := &w.hosts[i]
		res.Laps = max(res.Laps, h.passes)
		if h.core != nil {
			res.ViewChanges = max(res.ViewChanges, h.core.Head().Changes)
			if h.counts {
				res.Counting++
			}
		}
	}
	for i := range w.links {
		if w.links[i].used {
			res.PendingLinks++
		}
	}
	res.VirtualMS = float64(w.now) / 1e6
	res.Frames, res.Bytes, res.Steps = w.frames, w.bytes, w.steps
	res.Detections = w.watch.found
	res.Hash = fmt.Sprintf("%016x", uint64(w.hash))
	res.Failure = w.failure
}

// ParseSchedule reads actions, one a line; empty lines and # lines do not count.
func ParseSchedule(text []byte) ([]Action, error) {
	out := []Action{}
	for line := range bytes.Lines(text) {
		s := strings.TrimSpace(string(line))
		if s == "" || s[0] == '#' {
			continue
		}
		a, err := ParseAction(s)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}
