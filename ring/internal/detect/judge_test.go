package detect

import (
	"fmt"
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
		{"three: one is deaf and blames both", 3,
			join(says(0, 1), says(2, 1), says(1, 0, 2)), []int{1}},
		{"seven: one observer alone", 7, says(0, 1), nil},
		{"seven: three of six are between the marks", 7,
			join(says(0, 6), says(1, 6), says(2, 6)), nil},
		{"seven: four of six", 7,
			join(says(0, 6), says(1, 6), says(2, 6), says(3, 6)), []int{6}},
		{"seven: the deaf one accuses everybody and is accused by all", 7,
			join(says(6, 0, 1, 2, 3, 4, 5), says(0, 6), says(1, 6), says(2, 6), says(3, 6),
				says(4, 6), says(5, 6)), []int{6}},
		{"seven: alone in the world", 7, says(6, 0, 1, 2, 3, 4, 5), []int{0, 1, 2, 3, 4, 5}},
		{"seven: four die, three are left to say so", 7,
			join(says(0, 3, 4, 5, 6), says(1, 3, 4, 5, 6), says(2, 3, 4, 5, 6)), []int{3, 4, 5, 6}},
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
	for _, n := range []int{11, 40, 200} {
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
