package doctor

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"ringofservers.dev/ring"
	"ringofservers.dev/ring/trust"
)

// Topic is the question of the doctor, below the ring's own.
const Topic = "ring/doctor"

const (
	// lately is how far back the story of an instance is looked at.
	lately = time.Minute
	// keepFor is for how long who asks again is given what was found before.
	keepFor = time.Second
	// withinMax bounds for how long an instance looks.
	withinMax = 30 * time.Second
	// diskTime is after how long a disk counts as stuck.
	diskTime = 5 * time.Second
)

// Ring is what of a ring.Ring the doctor needs.
type Ring interface {
	Status() ring.Status
	Links() []ring.Link
	Events(since uint64) []ring.Event
	Bus() *ring.Bus
	Answer(topic string, answer func(context.Context, ring.Question) ([]byte, error), merge ring.Merge) (
		stop func(), err error)
	Gather(ctx context.Context, topic string, payload []byte, merge ring.Merge) (ring.Gathered, error)
}

// Config says what belongs to the instance; the zero value is one that keeps nothing.
type Config struct {
	Version string // of the program
	Data    string // directory; empty: there is none
	// Dialer opens the connections by which paths are tried; nil: a net.Dialer.
	Dialer Dialer
	// TLS is who this instance is: then others must prove who they are. Nil: there is none.
	TLS *trust.Store
}

// Doctor looks at one instance when it is asked, and asks all for whoever wants to know.
type Doctor struct {
	ring  Ring
	cfg   Config
	start clocks
	stop  func()

	one   sync.Mutex // who looks
	asked question   // the last, its sheet, and when it was found
	found sheet
	at    time.Time

	disk struct {
		sync.Mutex
		busy bool // somebody looks at it and has not come back
	}
}

// question is what is asked of each instance.
type question struct {
	Only ring.Name `json:"only,omitempty"` // the one that is examined; empty: all
	Seed uint64    `json:"seed"`           // of chance
	MS   int64     `json:"ms"`             // for how long to look at most
}

// Attend has the instance of r answer the doctor until Close. It fails as r.Answer does.
func Attend(r Ring, cfg Config) (*Doctor, error) {
	if cfg.Dialer == nil {
		cfg.Dialer = &net.Dialer{KeepAlive: -1}
	}
	d := &Doctor{ring: r, cfg: cfg, start: readClocks()}
	stop, err := r.Answer(Topic, d.answer, mergeSheets)
	if err != nil {
		return nil, err
	}
	d.stop = stop
	return d, nil
}

// Close has the instance answer no more.
func (d *Doctor) Close() { d.stop() }

// answer is what this instance finds.
func (d *Doctor) answer(ctx context.Context, q ring.Question) ([]byte, error) {
	var asked question
	if err := json.Unmarshal(q.Payload, &asked); err != nil {
		return nil, fmt.Errorf("read what the doctor asks: %w", err)
	}
	within := min(max(time.Duration(asked.MS)*time.Millisecond, 0), withinMax)
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	s, err := d.look(ctx, asked)
	if err != nil {
		return nil, err
	}
	return s.encode()
}

// knocker is how this instance tries addresses.
func (d *Doctor) knocker() knocker { return knocker{d.cfg.Dialer, d.cfg.TLS} }

// look finds out about this instance, one at a time. What was found a moment ago is told again.
func (d *Doctor) look(ctx context.Context, q question) (sheet, error) {
	d.one.Lock()
	defer d.one.Unlock()
	if time.Since(d.at) < keepFor && d.asked.Only == q.Only {
		return d.found, nil
	}
	if err := ctx.Err(); err != nil {
		return sheet{}, fmt.Errorf("others have had this instance looked at for all of the time: %w", err)
	}
	status := d.ring.Status()
	if q.Only != "" && q.Only != status.Self { // it is only asked for its way there
		s := sheet{Trouble: map[string]int{}}
		s.tryPaths(ctx, d, status, q)
		d.asked, d.found, d.at = q, s, time.Now()
		return s, nil
	}
	s := sheet{Count: 1, Trouble: map[string]int{}}
	var k facts
	var looking sync.WaitGroup
	looking.Go(func() { k = d.facts(ctx, status) })
	s.tryPaths(ctx, d, status, q)
	looking.Wait()
	s.note(judge(k))
	if k.strange {
		s.Strangers = 1
	}
	s.Rosters = kindOf(status.Self, strconv.FormatUint(status.RosterVersion, 10)+" "+status.RosterHash)
	s.Builds = kindOf(status.Self, fmt.Sprintf("%s (protocol %d)", d.cfg.Version, ring.Protocol))
	s.Views = kindOf(status.Self, status.View)
	if k.identity != nil {
		s.Roots = kindOf(status.Self, strings.Join(k.identity.roots, " "))
	}
	d.asked, d.found, d.at = q, s, time.Now()
	return s, nil
}

func kindOf(self ring.Name, name string) []Kind {
	return []Kind{{clipped(name, textMax), 1, []ring.Name{self}}}
}

// note takes what one instance has found about itself.
func (s *sheet) note(found []Problem) {
	in := map[string]bool{}
	for _, p := range found {
		if !in[p.Check] {
			in[p.Check] = true
			s.Trouble[p.Check]++
		}
	}
	*s = merged(*s, sheet{Problems: found})
}

func (s *sheet) tryPaths(ctx context.Context, d *Doctor, status ring.Status, q question) {
	all, sampled := targets(status.Instances, status.Self, q.Only, d.ring.Links(), q.Seed)
	paths, tried, untried := d.knocker().tryPaths(ctx, status.Self, all)
	*s = merged(*s, sheet{Paths: paths, Tried: tried, Bad: len(paths), Untried: untried, Sampled: sampled})
}

// facts measures what is to be judged.
func (d *Doctor) facts(ctx context.Context, status ring.Status) facts {
	k := facts{
		self: status.Self, data: d.cfg.Data, now: time.Now(), status: status, bus: d.ring.Bus().Status(),
		links: d.ring.Links(), files: lookAtFiles(), cpu: lookAtCPU(), memory: lookAtMemory(),
		clock: d.start.since(readClocks()), identity: lookAtIdentity(d.cfg.TLS),
	}
	k.refusals, k.strange, k.starved = recent(d.ring.Events(0), k.links, k.now)
	for _, i := range status.Instances {
		if i.Name == status.Self && i.Address != "" {
			r := d.knocker().knock(ctx, i.Address, i.Name, true)
			k.address = &r
		}
	}
	if d.cfg.Data != "" {
		k.disk = d.lookAtDisk(ctx)
	}
	return k
}

// lookAtDisk does not wait for ever, and has no second one wait where the first does.
func (d *Doctor) lookAtDisk(ctx context.Context) *diskFacts {
	d.disk.Lock()
	busy := d.disk.busy
	d.disk.busy = true
	d.disk.Unlock()
	if busy {
		return &diskFacts{stuck: true}
	}
	ctx, cancel := context.WithTimeout(ctx, diskTime)
	defer cancel()
	done := make(chan *diskFacts, 1)
	go func() {
		facts := lookAtDisk(d.cfg.Data)
		d.disk.Lock()
		d.disk.busy = false
		d.disk.Unlock()
		done <- facts
	}()
	select {
	case facts := <-done:
		return facts
	case <-ctx.Done():
		return &diskFacts{stuck: true}
	}
}

// recent is who was refused of late, here or there, and is not linked since; whether somebody was
// of whom no instance is known; and how often the process did not run. Anybody who can reach the
// port can be a stranger, so that says nothing of how the ring is.
func recent(events []ring.Event, links []ring.Link, now time.Time) (refused []refusal, strange bool, starved int) {
	up := map[ring.Name]bool{}
	for _, l := range links {
		up[l.Peer] = l.Up
	}
	for _, e := range slices.Backward(events) {
		if now.Sub(e.At) > lately {
			break
		}
		switch e.Kind {
		case "starved":
			starved++
		case "refused":
			if e.Subject == "" {
				strange = true
				continue
			}
			known := slices.ContainsFunc(refused, func(r refusal) bool { return r.who == e.Subject })
			if !known && !up[e.Subject] && len(refused) < whoMax {
				refused = append(refused, refusal{e.Subject, e.Text})
			}
		}
	}
	return refused, strange, starved
}

// knockAt looks what is to be found at the addresses of some who have not answered.
func (d *Doctor) knockAt(ctx context.Context, status ring.Status, g ring.Gathered) map[ring.Name]reached {
	silent := map[ring.Name]bool{}
	for _, a := range g.Missing {
		silent[a.Name] = true
	}
	var mu sync.Mutex
	var knocking sync.WaitGroup
	found := map[ring.Name]reached{}
	left := dialsMax
	for _, i := range status.Instances {
		if !silent[i.Name] || i.Address == "" || left == 0 {
			continue
		}
		left--
		knocking.Go(func() {
			r := d.knocker().knock(ctx, i.Address, i.Name, true)
			mu.Lock()
			defer mu.Unlock()
			found[i.Name] = r
		})
	}
	knocking.Wait()
	return found
}

// Ask says what is to be examined.
type Ask struct {
	Only ring.Name // one instance and the ways to and from it; empty: all
}

// ErrUnknown is that Ask names somebody whom the roster does not have.
var ErrUnknown = errors.New("doctor: there is no instance of that name")

// Examine asks all and returns what they have found, within nine tenths of the time that ctx
// leaves: who has not answered by then is in the report. It fails where nobody could be asked.
func (d *Doctor) Examine(ctx context.Context, ask Ask) (Report, error) {
	status := d.ring.Status()
	known := func(i ring.Instance) bool { return i.Name == ask.Only }
	if ask.Only != "" && !slices.ContainsFunc(status.Instances, known) {
		return Report{}, fmt.Errorf("%w: %q", ErrUnknown, ask.Only)
	}
	begun := time.Now()
	left := ring.GatherWait
	if by, ok := ctx.Deadline(); ok {
		left = time.Until(by)
	}
	clockCtx, cancel := context.WithTimeout(ctx, left/4)
	offsets, err := askClocks(clockCtx, d.ring)
	cancel()
	if err != nil && ctx.Err() != nil {
		return Report{}, err
	}
	left -= time.Since(begun)
	var seed [8]byte
	_, _ = rand.Read(seed[:]) // it never fails
	text, err := json.Marshal(question{ask.Only, binary.LittleEndian.Uint64(seed[:]), (left * 6 / 10).Milliseconds()})
	if err != nil {
		return Report{}, err
	}
	g, err := d.ring.Gather(ctx, Topic, text, mergeSheets)
	if err != nil {
		return Report{}, err
	}
	s := sheet{}
	if len(g.Value) > 0 {
		if s, err = decode(g.Value); err != nil {
			return Report{}, err
		}
	}
	status = d.ring.Status()
	rep := report(s, status, d.ring.Bus().Status(), g, d.knockAt(ctx, status, g), offsets, ask.Only)
	rep.At, rep.TookMS = begun, float64(time.Since(begun))/float64(time.Millisecond)
	return rep, nil
}
