package overlay

import (
	"fmt"
	"slices"
	"testing"
)

// The rings of some are those that they would build alone, under their own indexes.
func TestBuildOf(t *testing.T) {
	for _, n := range []int{1, 2, 5, 12, 40} {
		var names, in []string
		var index []int
		out := make([]bool, n)
		for i := range n {
			names = append(names, fmt.Sprintf("dc%d/s%d", i%3, i))
			if out[i] = i%3 == 1; !out[i] {
				in, index = append(in, names[i]), append(index, i)
			}
		}
		o, small := BuildOf(names, out, "prod", 0), Build(in, "prod", 0)
		for at, i := range index {
			var want []int
			for _, j := range small.Neighbours(at) {
				want = append(want, index[j])
			}
			if got := o.Neighbours(i); !slices.Equal(got, want) {
				t.Errorf("of %d: neighbours of %d are %v, want %v", n, i, got, want)
			}
			if next, _ := o.Walk(0, i, 1, func(int) bool { return true }); next != index[(at+1)%len(index)] {
				t.Errorf("of %d: after %d comes %d", n, i, next)
			}
		}
		for i := range n {
			if out[i] && (o.In(i) || o.Neighbours(i) != nil) {
				t.Errorf("of %d: %d is out, and in a ring", n, i)
			}
		}
	}
}
