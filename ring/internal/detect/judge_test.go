package detect

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"ringofservers.dev/ring/internal/overlay"
)

// complete is a small fleet in which everybody watches everybody.
func complete(n int) *overlay.Overlay { return overlay.Build(names(n), "t", 0) }

func names(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("dc1/prod/%d", i)
	}
	return out
}

func all(int) bool { return true }

// says builds edges: says(0, 1, 2) is 0 accusing 1 and 2.
func says(o int, subjects ...int) (out []Edge) {
	for _, s := range subjects {
		out = append(out, Edge{Observer: o, Subject: s})
	}
	return out
}

func over(v *Verdict) (out []int) {
	for _, f := range v.Findings {
		if f.Over() {
			out = append(out, int(f.Subject))
		}
	}
	return out
}

func TestJudge(t *testing.T) {
	join := func(parts ...[]Edge) []Edge { return slices.Concat(parts...) }
	tests := []struct {
		name  string
		n     int
		edges []Edge
		want  []int
	}{
		{"nobody accuses", 5, nil, nil},
		{"two: one cannot reach the other", 2, says(0, 1), []int{1}},
		{"three: one dies", 3, join(says(0, 1), says(2, 1)), []int{1}},
		{"three: two die", 3, says(0, 1, 2), []int{1, 2}},
		{"three: one link is bad one way", 3, says(0, 1), nil},
		{"three: one link is bad both ways", 3, join(says(0, 1), says(1, 0)), nil},
		{
			"four: one link is bad, and one accuses in error", 4,
			join(says(2, 3), says(3, 2), says(0, 1)), nil,
		},
		{
			"three: one dies, and the link of the others is bad", 3,
			join(says(0, 1, 2), says(1, 0, 2)),
			[]int{2},
		},
		{
			"three: one is deaf and blames both", 3,
			join(says(0, 1), says(2, 1), says(1, 0, 2)),
			[]int{1},
		},
		{"seven: one observer alone", 7, says(0, 1), nil},
		{
			"seven: three of six are between the marks", 7,
			join(says(0, 6), says(1, 6), says(2, 6)), nil,
		},
		{
			"seven: four of six", 7,
			join(says(0, 6), says(1, 6), says(2, 6), says(3, 6)),
			[]int{6},
		},
		{
			"seven: the deaf one accuses everybody and is accused by all", 7,
			join(says(6, 0, 1, 2, 3, 4, 5), says(0, 6), says(1, 6), says(2, 6), says(3, 6),
				says(4, 6), says(5, 6)),
			[]int{6},
		},
		{"seven: alone in the world", 7, says(6, 0, 1, 2, 3, 4, 5), []int{0, 1, 2, 3, 4, 5}},
		{
			"seven: four die, three are left to say so", 7,
			join(says(0, 3, 4, 5, 6), says(1, 3, 4, 5, 6), says(2, 3, 4, 5, 6)),
			[]int{3, 4, 5, 6},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := Judge(complete(tt.n), all, tt.edges)
			if got := over(v); !slices.Equal(got, tt.want) {
				t.Errorf("dead by this = %v, want %v (findings %+v)", got, tt.want, v.Findings)
			}
		})
	}
}

// Half of a larger ring dies: every dead one has only the living to accuse it,
// each of them on the rings where it finds itself next to a dead one.
func TestJudgeHalfOfTheRing(t *testing.T) {
	for _, n := range []int{11, 40, 100} {
		o := overlay.Build(names(n), "t", 6)
		dead := func(i int) bool { return i%2 == 1 || i == 4 }
		accused := map[int]bool{}
		var edges []Edge
		for range n { // each round, everybody watches one further past those it accuses
			v := Judge(o, all, edges)
			edges = edges[:0]
			for i := range n {
				if dead(i) {
					continue
				}
				for _, s := range Watched(o, nil, i, all, v) {
					if dead(s) {
						edges = append(edges, Edge{Observer: i, Subject: s})
						accused[s] = true
					}
				}
			}
		}
		got := over(Judge(o, all, edges))
		var want []int
		for i := range n {
			if dead(i) {
				want = append(want, i)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("n=%d: dead by this = %v, want %v", n, got, want)
		}
	}
}

func TestWatchedAndObserversAgree(t *testing.T) {
	o := overlay.Build(names(50), "t", 6)
	alive := func(i int) bool { return i%3 != 0 }
	for i := range 50 {
		if !alive(i) {
			continue
		}
		for _, s := range Watched(o, nil, i, alive, nil) {
			if !slices.Contains(Observers(o, nil, s, alive), i) {
				t.Errorf("%d watches %d, which does not know of it", i, s)
			}
		}
	}
}

// TestJudgeAsItIsWritten compares Judge, which is made for storms, with one that
// is made to be read, on edges at random.
func TestJudgeAsItIsWritten(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	sizes := []int{2, 3, 5, 9, 11, 40, 300}
	rings := map[int]*overlay.Overlay{}
	for _, n := range sizes {
		rings[n] = overlay.Build(names(n), "t", 0)
	}
	for round := range 700 {
		n := sizes[round%len(sizes)]
		o, down, sick := rings[n], r.Float64()/2, r.Float64()/2
		dead, ill := make([]bool, n), make([]bool, n)
		for i := range n {
			dead[i], ill[i] = r.Float64() < down, r.Float64() < sick
		}
		alive := func(i int) bool { return !dead[i] }
		var edges []Edge
		for i := range n {
			for _, s := range o.Neighbours(i) {
				if !dead[i] && !dead[s] && (ill[s] || r.IntN(9) == 0) && r.IntN(5) > 0 {
					edges = append(edges, Edge{Observer: i, Subject: s, Proof: r.IntN(2) == 0})
				}
			}
		}
		if len(edges) > 0 && r.IntN(3) == 0 { // some twice, and in no order
			edges = append(edges, edges[:r.IntN(len(edges))]...)
			r.Shuffle(len(edges), func(i, j int) { edges[i], edges[j] = edges[j], edges[i] })
		}
		v := Judge(o, alive, edges)
		want := plain(o, alive, edges)
		if len(v.Findings) != len(want) {
			t.Fatalf("round %d: %d findings, want %d", round, len(v.Findings), len(want))
		}
		for i, f := range v.Findings {
			w := want[i]
			if int(f.Subject) != w.subject || int(f.Observers) != w.observers ||
				!slices.Equal(v.By(f), w.by) || v.Proven(w.subject) != w.proven {
				t.Fatalf("round %d: finding %+v by %v, want %+v", round, f, v.By(f), w)
			}
		}
	}
}

type plainFinding struct {
	subject, observers int
	by                 []int
	proven             bool
}

// plain is what the accusations come to, by the words of Judge.
func plain(o *overlay.Overlay, alive func(int) bool, edges []Edge) (out []plainFinding) {
	accusers := func(s int) map[int]bool {
		by := map[int]bool{}
		for _, e := range edges {
			if e.Subject == s {
				by[e.Observer] = true
			}
		}
		return by
	}
	live := 0
	for i := range o.N {
		if alive(i) {
			live++
		}
	}
	if live > 2 {
		edges = slices.DeleteFunc(slices.Clone(edges), func(e Edge) bool { // their link is bad
			of, back := accusers(e.Subject), accusers(e.Observer)
			return len(of) == 1 && len(back) == 1 && back[e.Subject]
		})
	}
	accused := map[int]bool{}
	for {
		count, most := map[int]int{}, 0
		for _, e := range edges {
			if !accused[e.Observer] && !accused[e.Subject] {
				count[e.Subject]++
				most = max(most, count[e.Subject])
			}
		}
		if most == 0 {
			break
		}
		for s, n := range count {
			if n == most {
				accused[s] = true
			}
		}
	}
	for s := range accused {
		f := plainFinding{subject: s}
		seen := Observers(o, nil, s, func(i int) bool { return alive(i) && !accused[i] })
		f.observers = len(seen)
		for _, e := range edges {
			f.proven = f.proven || e.Subject == s && e.Proof
			if e.Subject == s && slices.Contains(seen, e.Observer) && !slices.Contains(f.by, e.Observer) {
				f.by = append(f.by, e.Observer)
			}
		}
		slices.Sort(f.by)
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b plainFinding) int { return cmp.Compare(a.subject, b.subject) })
	return out
}
