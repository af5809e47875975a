package main

import (
	"testing"
	"time"
)

// What members got counts only if all have the same in the same order.
func TestOrderMustBeOfAll(t *testing.T) {
	o := ordering{got: []float64{20, 10}, all: []uint64{7, 7}, hash: []string{"a", "a"}}
	if err := o.close(time.Second, 2*time.Second); err != nil || o.rate != 10 || o.cpu != 50*time.Millisecond {
		t.Errorf("rate = %v, cpu = %v, error %v; want 10, 50ms", o.rate, o.cpu, err)
	}
	o.hash[1] = "b"
	if o.close(time.Second, 2*time.Second) == nil {
		t.Error("two orders pass for one")
	}
}

func TestCpgbenchIsHeard(t *testing.T) {
	var o ordering
	err := o.heard("begin\nend\ngot 400 ns 2000000000 all 900 hash 00ff p50 30 p99 60")
	if err != nil || o.got[0] != 200 || o.all[0] != 900 || o.hash[0] != "00ff" ||
		o.p50[0] != 30*time.Microsecond {
		t.Errorf("heard %+v, error %v", o, err)
	}
}
