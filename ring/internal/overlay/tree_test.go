package overlay

import (
	"fmt"
	"slices"
	"testing"
)

// depths of all in a tree; -1 for whom it does not reach.
func depths(parent []int32, origin int) []int {
	d := make([]int, len(parent))
	for i := range d {
		at, n := int32(i), 0
		for at != int32(origin) && at != None && n <= len(parent) {
			at, n = parent[at], n+1
		}
		d[i] = n
		if at != int32(origin) {
			d[i] = -1
		}
	}
	return d
}

func all(int) bool { return true }

func TestTreeIsAsDeepAsTheGraph(t *testing.T) {
	for _, n := range []int{1, 2, 5, 11, 64, 200, 1000} {
		o := Build(fleet("sequential", n), "prod", 0)
		l := o.Live(all)
		for origin := 0; origin < n; origin += max(1, n/7) {
			d := depths(l.Tree(origin), origin)
			if slices.Min(d) < 0 || slices.Max(d) != eccentricity(o, origin) {
				t.Errorf("n=%d from %d: depths %d to %d, want up to %d",
					n, origin, slices.Min(d), slices.Max(d), eccentricity(o, origin))
			}
		}
	}
}

func TestTreeOfTheLiving(t *testing.T) {
	o := Build(fleet("paths", 300), "prod", 0)
	alive := func(i int) bool { return i%10 != 4 && i%3 != 1 }
	l := o.Live(alive)
	parent := l.Tree(0)
	for i, d := range depths(parent, 0) {
		if (d >= 0) != alive(i) {
			t.Errorf("%d, alive %v, at depth %d", i, alive(i), d)
		}
		if p := parent[i]; p != None && !slices.Contains(l.Near(i), p) {
			t.Errorf("%d has no link to its parent %d", i, p)
		}
	}
}

// Into each other zone goes one copy, over one link from the origin's.
func TestTreeCrossesBetweenZonesOnce(t *testing.T) {
	for _, n := range []int{24, 200, 1000} {
		for zones := 2; zones <= 4; zones++ {
			names := make([]string, n)
			for i := range names {
				names[i] = fmt.Sprintf("dc%d/prod/%d", i%zones, i/zones)
			}
			o := Build(names, "prod", 6)
			l := o.Live(all)
			for origin := 0; origin < n; origin += n / 8 {
				parent, crossings := l.Tree(origin), 0
				for i, p := range parent {
					if p == None || o.Zone[i] == o.Zone[p] {
						continue
					}
					if crossings++; o.Zone[p] != o.Zone[origin] {
						t.Errorf("n=%d: zone %d is reached from zone %d, and the origin is in %d",
							n, o.Zone[i], o.Zone[p], o.Zone[origin])
					}
				}
				d := depths(parent, origin)
				if crossings != zones-1 || slices.Min(d) < 0 {
					t.Errorf("n=%d from %d: %d copies between %d zones", n, origin, crossings, zones)
				}
				if origin == 0 {
					t.Logf("n=%d zones=%d depth %d", n, zones, slices.Max(d))
				}
			}
		}
	}
}

func TestTreesSpreadTheLoad(t *testing.T) {
	const n = 200
	l := Build(fleet("sequential", n), "prod", 6).Live(all)
	children := make([]int, n)
	for origin := range n {
		for _, p := range l.Tree(origin) {
			if p != None {
				children[p]++
			}
		}
	}
	if least, most := slices.Min(children), slices.Max(children); least < n/2 || most > 2*n {
		t.Errorf("%d to %d copies of one message of each, in the mean %d", least, most, n-1)
	}
}

func BenchmarkTree(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		o := Build(fleet("paths", n), "prod", 0)
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			l := o.Live(all)
			for b.Loop() {
				l.Tree(17)
			}
		})
	}
}
