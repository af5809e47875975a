package ringtest

import (
	"fmt"
	"slices"
	"time"
)

// spreader takes one fleet through all troubles.
type spreader struct {
	w      *World
	opt    SpreadOptions
	dice   dice
	window int64
	res    SpreadResult
}

func (s *spreader) say(format string, args ...any) {
	if s.opt.Progress != nil {
		fmt.Fprintf(s.opt.Progress, "%d instances, %.1f s: %s\n", s.opt.Nodes, float64(s.w.now)/1e9,
			fmt.Sprintf(format, args...))
	}
}

func (s *spreader) run() {
	w := s.w
	w.plan()
	s.say("they start")
	w.run(w.opt.spread())
	s.res.FormedMS = float64(w.await("R2", w.formBound())) / 1e6
	w.watch.formed = w.failure == nil
	s.say("they have formed a ring")
	w.run(w.now + 3*second)

	all := w.everybody()
	if s.wanted(Calm) {
		s.measure(Calm, nil, all, w.overlay.Neighbours, 0)
	}
	if s.wanted(Lost) {
		s.losing(Lost, nil, all)
	}
	n := s.opt.Nodes
	s.dark(s.some(max(n/10, 1)), Dead, DeadLost)
	s.dark(s.centre(), Centre)
	if s.wanted(Late) {
		s.delayed(all)
	}
	if s.wanted(Churn) {
		most := churnMax
		if n > knownMax {
			most = churnFew
		}
		s.churn(min(max(n/50, 1), most))
	}
	if s.wanted(CentreGone) {
		s.gone(s.centre())
	}
}

// wanted reports whether a trouble is to be met, and can be.
func (s *spreader) wanted(t Trouble) bool {
	return slices.Contains(s.opt.Troubles, t) && s.opt.can(t)
}

// some draws k hosts, ascending.
func (s *spreader) some(k int) []int32 {
	all := make([]int32, len(s.w.hosts))
	for i := range all {
		all[i] = int32(i)
	}
	for i := range k {
		j := i + int(s.dice.below(int64(len(all)-i)))
		all[i], all[j] = all[j], all[i]
	}
	slices.Sort(all[:k])
	return all[:k]
}

// centre is the hosts of one data centre: of the first, or where there are none a
// quarter of the fleet that stands together in the roster.
func (s *spreader) centre() []int32 {
	var set []int32
	for i := range s.w.hosts {
		if s.opt.Zones > 1 && s.w.zone(int32(i)) == 0 || s.opt.Zones == 1 && i < max(len(s.w.hosts)/4, 1) {
			set = append(set, int32(i))
		}
	}
	return set
}

// without is all hosts but those of a set, which is in order.
func (s *spreader) without(set []int32) []int32 {
	var rest []int32
	for i := range s.w.hosts {
		if _, ok := slices.BinarySearch(set, int32(i)); !ok {
			rest = append(rest, int32(i))
		}
	}
	return rest
}

// losing measures while frames vanish.
func (s *spreader) losing(what Trouble, troubled, live []int32) {
	s.w.meter.lost = lostRate
	s.measure(what, troubled, live, s.w.overlay.Neighbours, 0)
	s.w.meter.lost = 0
}

// dark measures while some hosts are as good as dead: they neither run nor answer. It
// ends before anybody notices, and they go on as if nothing had been.
func (s *spreader) dark(set []int32, what ...Trouble) {
	what = slices.DeleteFunc(what, func(t Trouble) bool { return !s.wanted(t) })
	if len(what) == 0 || s.w.failure != nil {
		return
	}
	live := s.without(set)
	before := s.w.hosts[live[0]].core.Head().ID
	for _, i := range set {
		s.turn(&s.w.hosts[i], +1)
	}
	for _, trouble := range what {
		if trouble == DeadLost {
			s.losing(trouble, set, live)
		} else {
			s.measure(trouble, set, live, s.w.overlay.Neighbours, 0)
		}
	}
	for _, i := range live {
		if s.w.hosts[i].core.Head().ID != before {
			s.w.fail("dark", "s%d has noticed that some are dark, and nobody was to", i)
		}
	}
	for _, i := range set {
		s.turn(&s.w.hosts[i], -1)
	}
	s.w.run(s.w.now + recovers)
}

// turn makes a host dark, or ends that.
func (s *spreader) turn(h *host, by int) {
	h.off += by
	s.w.blocks += by
	if by > 0 {
		h.rough.begin()
	} else {
		h.rough.end(s.w.now)
	}
	s.w.halt(h, by)
}

// delayed measures while packets get lost on all links. They are TCP: a frame comes all
// the same, at the earliest 200 ms later, and those behind it wait.
func (s *spreader) delayed(all []int32) {
	w := s.w
	for i := range w.hosts {
		w.hosts[i].mild.begin()
	}
	w.lossAll = lostRate
	s.measure(Late, nil, all, w.overlay.Neighbours, latePause)
	w.lossAll = 0
	for i := range w.hosts {
		w.hosts[i].mild.end(w.now)
	}
	w.run(w.now + recovers)
}

// churn measures while hosts come and go, all within the time in which the messages
// are sent: half of them are killed, half leave, each starts again half a second later.
func (s *spreader) churn(count int) {
	w := s.w
	set := s.some(count)
	live := s.without(set)
	begun := w.now
	for k, i := range set {
		fault := Crash
		if k%2 == 1 {
			fault = Depart
		}
		at := begun + s.dice.below(churnTime-churnAway)
		w.expect(at, func() { s.goes(i, fault, +1) })
		w.expect(at+churnAway, func() { s.goes(i, fault, -1) })
	}
	s.measure(Churn, set, live, w.overlay.Neighbours, churnTime/int64(s.opt.Messages*len(s.opt.Sizes)))
}

// goes has a host die or leave, and come back.
func (s *spreader) goes(i int32, f Fault, by int) {
	h := &s.w.hosts[i]
	if by > 0 {
		h.rough.begin()
	} else {
		h.rough.end(s.w.now)
	}
	s.w.down(&Action{Fault: f, A: int(i)}, h, by)
	for _, f := range s.w.meter.flights { // all lose one: order does not matter
		f.at[i] = -1
	}
}

// gone measures when a data centre is without power and all the others know.
func (s *spreader) gone(set []int32) {
	w := s.w
	if w.failure != nil {
		return
	}
	w.run(w.now + recovers)
	for _, i := range set {
		h := &w.hosts[i]
		h.rough.begin()
		s.w.down(&Action{Fault: Crash, A: int(i)}, h, +1)
	}
	w.run(w.now + second)
	w.await("R2", w.calmBound()+time.Duration(w.timing.detection()))
	w.run(w.now + second)
	live := s.without(set)
	lives := make([]bool, len(w.hosts))
	for _, i := range live {
		lives[i] = true
	}
	links := w.overlay.Live(func(i int) bool { return lives[i] })
	s.measure(CentreGone, set, live, func(i int) []int {
		var near []int
		for _, j := range links.Near(i) {
			near = append(near, int(j))
		}
		return near
	}, 0)
}
