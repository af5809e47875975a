package ringtest

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"
)

func TestAdhoc(t *testing.T) {
	first, _ := strconv.ParseUint(os.Getenv("FIRST"), 10, 64)
	span, _ := time.ParseDuration(os.Getenv("SPAN"))
	sizes := []int{11, 16, 9, 5, 13, 3}
	until := time.Now().Add(span)
	n := uint64(0)
	bad := 0
	for ; time.Now().Before(until); n++ {
		o := Options{Seed: first + n, Nodes: sizes[n%6], Faults: "all"}
		res, err := Run(o)
		if err != nil {
			t.Fatal(err)
		}
		if f := res.Failure; f != nil {
			bad++
			fmt.Printf("SEED %d n=%d %s %.200s\n", o.Seed, o.Nodes, f.Invariant, f.Text)
		}
	}
	fmt.Printf("DONE %d seeds, %d bad\n", n, bad)
}
