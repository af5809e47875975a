package ringtest

import (
	"math"
	"slices"

	"ringofservers.dev/ring/internal/core"
)

// measure sends messages while something is wrong, and adds a row for each size: all at
// once, each from another host, or as many as there are hosts; or with a pause between
// any two. The links are those that near gives.
func (s *spreader) measure(
	what Trouble, troubled, live []int32, near func(i int) []int, pause int64,
) {
	w := s.w
	if w.failure != nil {
		return
	}
	w.meter.live = make([]bool, len(w.hosts))
	for _, i := range live {
		w.meter.live[i] = true
	}
	w.meter.held = what != Churn // there, every new link begins with one
	flights := s.send(live, pause)
	if w.failure != nil { // of what broke there is no row
		return
	}
	rows := make([]SpreadRow, len(flights))
	for k := range rows {
		rows[k] = s.early(flights[k], live, near)
	}
	all := live
	if what == Churn { // who came back has all that was sent meanwhile, too
		all = w.everybody()
	}
	w.meter.held = false
	for until := w.now + spreadBound; w.now < until && !whole(all, flights); {
		if w.run(w.now + 50*ms); w.failure != nil {
			return
		}
	}
	for k := range rows {
		r := &rows[k]
		r.Trouble, r.Troubled, r.Live = what, len(troubled), len(live)
		r.late(flights[k], live, all)
		s.say("%s, %s: %d of %d whole before digests, %d after; to the last %.0f hops, at most %.0f",
			what, r.Kind, r.Whole, r.Messages, r.WholeAfter, r.Median, r.Worst)
	}
	s.res.Rows = append(s.res.Rows, rows...)
	clear(w.meter.flights)
}

// send sends the messages, in turns, so that each size has its share of the time, and
// waits for what becomes of them without digests. It returns them by size.
func (s *spreader) send(live []int32, pause int64) [][]*flight {
	w := s.w
	flights := make([][]*flight, len(s.opt.Sizes))
	origins, begun, end := s.origins(live), w.now, w.now
	for k := range s.opt.Messages * len(s.opt.Sizes) {
		at := begun + int64(k/len(origins))*s.window
		if pause > 0 {
			at = begun + int64(k)*pause
		}
		end = at + s.window
		w.expect(at, func() {
			size := k % len(s.opt.Sizes)
			f := w.publish(origins[k%len(origins)], s.opt.Sizes[size])
			if f == nil {
				return
			}
			flights[size] = append(flights[size], f)
			w.expect(at+s.window, func() {
				have, _ := f.reached(live)
				f.early, f.whole = f.tally, have == len(live)
			})
		})
	}
	w.run(end)
	return flights
}

// origins are those who send, in an order that was drawn.
func (s *spreader) origins(live []int32) []int32 {
	out := slices.Clone(live)
	for i := range out {
		j := i + int(s.dice.below(int64(len(out)-i)))
		out[i], out[j] = out[j], out[i]
	}
	return out
}

// whole reports whether all of a set have all messages.
func whole(set []int32, flights [][]*flight) bool {
	for _, list := range flights {
		for _, f := range list {
			if have, _ := f.reached(set); have < len(set) {
				return false
			}
		}
	}
	return true
}

// early is what can be said before there is any digest.
func (s *spreader) early(flights []*flight, live []int32, near func(i int) []int) SpreadRow {
	r := SpreadRow{Messages: len(flights), Kind: Tree}
	var sum tally
	for _, f := range flights {
		if r.Size = len(f.body); r.Size <= core.CastSmall {
			r.Kind = Flood
		}
		if f.whole {
			r.Whole++
		}
		r.Best = max(r.Best, hops(s.w.farthest(f.origin, near, s.w.meter.live)))
		sum.copies += f.early.copies
		sum.control += f.early.control
		sum.bytes += f.early.bytes
		sum.cross += f.early.cross
		for _, i := range live {
			r.WideDeep = max(r.WideDeep, int(f.wide[i]))
		}
	}
	r.CrossCopies = share(sum.cross, len(flights))
	each := len(flights) * len(live)
	r.Copies, r.Control = share(sum.copies, each), share(sum.control, each)
	r.Bytes = share(sum.bytes, each)
	return r
}

// late adds what can be said in the end; all are to have the messages by then.
func (r *SpreadRow) late(flights []*flight, live, all []int32) {
	var last []int64
	copies, reached := uint64(0), make([]uint64, reachMax+1)
	for _, f := range flights {
		if have, _ := f.reached(all); have == len(all) {
			r.WholeAfter++
		}
		_, at := f.reached(live)
		if last = append(last, at); f.whole {
			r.Without = max(r.Without, hops(at))
		}
		copies += f.copies
		for _, i := range live {
			if k := (f.at[i] + spreadHop - 1) / spreadHop; f.at[i] >= 0 && k <= reachMax {
				reached[k]++
			}
		}
	}
	each := len(flights) * len(live)
	r.CopiesAfter = share(copies, each)
	sum := uint64(0)
	for _, n := range reached {
		sum += n
		r.Reached = append(r.Reached, share(sum, each))
	}
	if slices.Sort(last); len(last) > 0 {
		r.Median, r.Worst = hops(last[len(last)/2]), hops(last[len(last)-1])
	}
}

// share is what each of so many has of a sum, to six digits.
func share(sum uint64, each int) float64 {
	return math.Round(float64(sum)/float64(max(each, 1))*1e6) / 1e6
}

func hops(ns int64) float64 { return math.Round(float64(ns)/float64(spreadHop)*100) / 100 }
