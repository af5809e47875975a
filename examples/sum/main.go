// Sum asks a whole fleet for a number in one lap: a passenger boards with nothing, each stop
// adds what it has, and what comes home is the sum, with who was asked. Before the last lap
// an instance ends without a word; the sum is then that of the others, and says so.
//
//	go run ./examples/sum -stops 5 -laps 3
//
//	lap 1: 15 requests at 5 instances
//	lap 2: 15 requests at 5 instances
//	lap 3: 10 requests at 4 instances, without stop/4
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"log"
	"strconv"
	"time"

	"ringofservers.dev/examples/local"
	"ringofservers.dev/ring"
)

func main() {
	stops := flag.Int("stops", 5, "instances of the ring, 2 or more")
	laps := flag.Int("laps", 3, "how often to ask")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := ask(ctx, max(*stops, 2), *laps); err != nil {
		log.Fatal(err)
	}
}

func ask(ctx context.Context, stops, laps int) error {
	rings, err := local.Start(ctx, stops, 0)
	if err != nil {
		return err
	}
	for i, r := range rings {
		busy := i + 1 // requests, that is; each has its own
		add := func(_ context.Context, p ring.Passenger) ([]byte, error) {
			sum, err := strconv.Atoi(cmp.Or(string(p.Value), "0"))
			if err != nil {
				return nil, err
			}
			return strconv.AppendInt(nil, int64(sum+busy), 10), nil
		}
		if _, err := r.Station("busy", ring.Fold(add), ring.Holds(100*time.Millisecond)); err != nil {
			return err
		}
	}
	for lap := range laps {
		if lap == laps-1 {
			if err := rings[stops-1].Close(); err != nil {
				return err
			}
		}
		home, err := rings[0].Lap(ctx, "busy", nil)
		if err != nil {
			return err
		}
		fmt.Printf("lap %d: %s requests at %d instances", lap+1, home.Value, home.Folded)
		for _, absent := range home.Unseen {
			fmt.Printf(", without %s", absent.Name)
		}
		fmt.Println()
	}
	return local.Close(rings)
}
