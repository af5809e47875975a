package overlay

import (
	"crypto/sha256"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// namings are the ways fleets are named that a weak order would trip over.
var namings = map[string]func(i int) string{
	"paths":      func(i int) string { return fmt.Sprintf("dc%d/prod/%d", i%3+1, i/3) },
	"sequential": strconv.Itoa,
	"addresses":  func(i int) string { return fmt.Sprintf("10.0.%d.%d", i/256, i%256) },
	"prefix":     func(i int) string { return strings.Repeat("x", 100) + strconv.Itoa(i) },
	"short":      func(i int) string { return string(rune('0' + i)) },
}

func fleet(naming string, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = namings[naming](i)
	}
	return names
}

var sizes = []int{0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13, 15, 16, 24, 25, 64, 65, 200, 1000, 1001}

// R2 rests on this: every instance computes the same simple graph, with ring 0
// in it and the same number of links for everybody.
func TestShape(t *testing.T) {
	for _, naming := range []string{"paths", "sequential", "addresses", "prefix", "short"} {
		for _, n := range sizes {
			for _, degree := range []int{0, 4, 6, 8, 16} {
				t.Run(fmt.Sprintf("%s/n=%d/d=%d", naming, n, degree), func(t *testing.T) {
					names := fleet(naming, n)
					o := Build(names, "prod", degree)
					checkShape(t, o, n, degree)
					if again := Build(names, "prod", degree); !equal(o, again) {
						t.Error("two builds of one roster differ")
					}
				})
			}
		}
	}
}

func TestLargeShape(t *testing.T) {
	checkShape(t, Build(fleet("paths", 10_000), "prod", 0), 10_000, 0)
}

func checkShape(t *testing.T, o *Overlay, n, degree int) {
	t.Helper()
	want := Links(n, degree)
	if o.N != n || o.Degree != want || o.Deficit != 0 {
		t.Fatalf("n, degree, deficit = %d, %d, %d, want %d, %d, 0",
			o.N, o.Degree, o.Deficit, n, want)
	}
	if wantRings := want / 2; o.Complete && len(o.Rings) != 1 ||
		!o.Complete && len(o.Rings) != wantRings {
		t.Fatalf("%d rings, complete %v, want %d rings", len(o.Rings), o.Complete, wantRings)
	}
	for k, ring := range o.Rings {
		sorted := slices.Clone(ring)
		slices.Sort(sorted)
		for i := range n {
			if sorted[i] != int32(i) || int(o.Pos[k][ring[i]]) != i {
				t.Fatalf("ring %d is no single cycle of all", k)
			}
			if k == 0 && ring[i] != int32(i) {
				t.Fatalf("ring 0 has %d at place %d", ring[i], i)
			}
		}
	}
	near := make([][]int, n)
	for i := range n {
		near[i] = o.Neighbours(i)
		if len(near[i]) != want || slices.Contains(near[i], i) || !slices.IsSorted(near[i]) {
			t.Fatalf("Neighbours(%d) = %v, want %d others in order", i, near[i], want)
		}
		if len(slices.Compact(slices.Clone(near[i]))) != want {
			t.Fatalf("Neighbours(%d) = %v: one is named twice", i, near[i])
		}
	}
	for i := range n {
		for _, j := range near[i] {
			if !slices.Contains(near[j], i) {
				t.Fatalf("%d is a neighbour of %d but not the other way", j, i)
			}
		}
		if n > 1 && !slices.Contains(near[i], (i+1)%n) {
			t.Fatalf("ring 0 is not in the graph: %d has no link to its next", i)
		}
	}
}

func equal(a, b *Overlay) bool {
	return a.Seed == b.Seed && slices.EqualFunc(a.Rings, b.Rings, slices.Equal)
}

// The name of the ring and each name decide the order: two rings of one fleet
// do not fall with the same neighbours.
func TestRingNameCounts(t *testing.T) {
	names := fleet("paths", 64)
	a, b := Build(names, "prod", 0), Build(names, "test", 0)
	if slices.Equal(a.Rings[1], b.Rings[1]) {
		t.Error("rings prod and test have one order")
	}
}

// Before repair an order is that of the whole fleet with the absent left out.
func TestOrderOfSome(t *testing.T) {
	names := fleet("paths", 200)
	var some []string
	for i := 0; i < len(names); i += 3 {
		some = append(some, names[i])
	}
	var want []string
	for _, i := range hashOrder(names, nil, "prod", 0, 1) {
		if i%3 == 0 {
			want = append(want, names[i])
		}
	}
	var got []string
	for _, i := range hashOrder(some, nil, "prod", 0, 1) {
		got = append(got, some[i])
	}
	if !slices.Equal(got, want) {
		t.Error("the order of some instances depends on others")
	}
}

// With data centres in turn along the roster, ring 1 goes through one after the other,
// however many are dead, and the other rings go anywhere.
func TestRingWithinZones(t *testing.T) {
	o := Build(fleet("paths", 300), "prod", 6)
	crossings := func(k int) int {
		n := 0
		for at, i := range o.Rings[k] {
			if i%3 != o.Rings[k][(at+1)%o.N]%3 {
				n++
			}
		}
		return n
	}
	if got := [3]int{crossings(0), crossings(1), crossings(2)}; got[0] != 300 || got[1] != 3 || got[2] < 150 {
		t.Errorf("rings cross between zones %v times", got)
	}
}

func TestNoRingWithinZones(t *testing.T) {
	grouped := fleet("paths", 300)
	slices.Sort(grouped) // ring 0 stays within them itself
	one := make([]string, 300)
	for i := range one {
		one[i] = "dc1/prod/" + strconv.Itoa(i)
	}
	for what, zones := range map[string][]string{
		"two rings": zonesOf(fleet("paths", 300), 2),
		"grouped":   zonesOf(grouped, 3),
		"one zone":  zonesOf(one, 3),
		"no zones":  zonesOf(fleet("sequential", 300), 3),
		"not all":   zonesOf(append(fleet("paths", 300), "alone"), 3),
	} {
		if zones != nil {
			t.Errorf("%s: a ring stays within %v …", what, zones[:3])
		}
	}
	if zonesOf(fleet("paths", 300), 3) == nil {
		t.Error("three in turn are no zones")
	}
}

// An appended instance costs three links on each ring, and the little that
// repair moves with them.
func TestJoinMovesFewLinks(t *testing.T) {
	for _, n := range []int{64, 200, 1001} {
		names := fleet("paths", n+20)
		for extra := range 20 {
			before := linksOf(Build(names[:n+extra], "prod", 8))
			after := linksOf(Build(names[:n+extra+1], "prod", 8))
			changed := 0
			for link := range before {
				if !after[link] {
					changed++
				}
			}
			for link := range after {
				if !before[link] {
					changed++
				}
			}
			if most := 3*4 + 16; changed > most {
				t.Errorf("n=%d: one more instance changes %d links, want at most %d",
					n+extra, changed, most)
			}
		}
	}
}

func linksOf(o *Overlay) map[[2]int]bool {
	links := make(map[[2]int]bool)
	for i := range o.N {
		for _, j := range o.Neighbours(i) {
			links[[2]int{min(i, j), max(i, j)}] = true
		}
	}
	return links
}

// A graph of degree 6 reaches 1,000 instances in six hops; no graph of that
// degree can in fewer than five (the bound of Moore).
func TestDiameter(t *testing.T) {
	for _, test := range []struct{ n, most int }{{11, 2}, {64, 4}, {200, 5}, {1000, 6}} {
		o := Build(fleet("paths", test.n), "prod", 0)
		for from := range test.n {
			if far := eccentricity(o, from); far > test.most {
				t.Fatalf("n=%d: %d hops from %d to the farthest, want at most %d",
					test.n, far, from, test.most)
			}
		}
	}
}

// eccentricity is the number of hops from one to the farthest other.
func eccentricity(o *Overlay, from int) int {
	far := make([]int, o.N)
	queue := []int{from}
	for at := 0; at < len(queue); at++ {
		for _, j := range o.Neighbours(queue[at]) {
			if j != from && far[j] == 0 {
				far[j] = far[queue[at]] + 1
				queue = append(queue, j)
			}
		}
	}
	if len(queue) < o.N {
		return o.N
	}
	return slices.Max(far)
}

func TestWalk(t *testing.T) {
	o := Build(fleet("paths", 5), "prod", 0)
	alive := func(i int) bool { return i == 1 || i == 4 }
	for _, test := range []struct{ from, dir, want int }{
		{1, 1, 4}, {4, 1, 1}, {0, -1, 4}, {1, -1, 4}, {2, 1, 4}, {2, -1, 1},
	} {
		if got, ok := o.Walk(0, test.from, test.dir, alive); got != test.want || !ok {
			t.Errorf("Walk(0, %d, %d) = %d, %v, want %d", test.from, test.dir, got, ok, test.want)
		}
	}
	if got, ok := o.Walk(0, 3, 1, func(int) bool { return false }); ok || got != 3 {
		t.Errorf("Walk among the dead = %d, %v, want 3, false", got, ok)
	}
}

func TestCheckDegree(t *testing.T) {
	for degree, fine := range map[int]bool{
		0: true, 4: true, 6: true, 16: true, -2: false, 1: false, 2: false, 5: false, 18: false,
	} {
		if err := CheckDegree(degree); (err == nil) != fine {
			t.Errorf("CheckDegree(%d) = %v, want fine %v", degree, err, fine)
		}
	}
}

// linksText is each link once, the smaller index first, in order: whole if there are
// few, else the SHA-256 of the indexes, four bytes each, big end first.
func linksText(o *Overlay) string {
	var links []int32
	for i := range o.N {
		for _, j := range o.Neighbours(i) {
			if j > i {
				links = append(links, int32(i), int32(j))
			}
		}
	}
	if o.N <= 12 {
		return fmt.Sprint(links)
	}
	h := sha256.New()
	if err := binary.Write(h, binary.BigEndian, links); err != nil {
		panic(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// The construction is a wire format: these orders may never change, on any
// machine. Small rings stand in the file whole, large ones as a SHA-256 of
// their indexes, four bytes each, big end first.
func TestGolden(t *testing.T) {
	var b strings.Builder
	for _, naming := range []string{"paths", "sequential"} {
		for _, n := range []int{3, 10, 11, 12, 64, 200, 1000, 10_000} {
			o := Build(fleet(naming, n), "prod", 0)
			fmt.Fprintf(&b, "%s n=%d d=%d seed=%d links: %s\n", naming, n, o.Degree, o.Seed, linksText(o))
			for k, ring := range o.Rings {
				fmt.Fprintf(&b, "%s n=%d d=%d seed=%d ring %d: ", naming, n, o.Degree, o.Seed, k)
				if n <= 12 {
					fmt.Fprintln(&b, ring)
					continue
				}
				h := sha256.New()
				if err := binary.Write(h, binary.BigEndian, ring); err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&b, "%x\n", h.Sum(nil))
			}
		}
	}
	path := filepath.Join("testdata", "rings.golden")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.String(); got != string(want) {
		t.Errorf("rings differ from %s; got:\n%s", path, got)
	}
}

func BenchmarkBuild(b *testing.B) {
	for _, n := range []int{11, 1000, 10_000} {
		names := fleet("paths", n)
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Build(names, "prod", 0)
			}
		})
	}
}
