// Ticker is a news ticker that goes round: one word of the headline is alive, and every stop
// edits it as it passes, into the one it finds better. What comes home goes out again.
//
//	go run ./examples/ticker -hold 300ms
//
//	stop/1  the ring is [steady]
//	stop/2  the ring is [brisk]
//	…
//	after lap 1, edited by 5: the ring is [instant]
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log"
	"time"

	"ringofservers.dev/examples/local"
	"ringofservers.dev/ring"
)

// better lists the words, each behind the one that it is better than; before the first comes
// the last.
var better = []string{"slow", "steady", "brisk", "fast", "rapid", "instant", "too fast"}

func main() {
	stops := flag.Int("stops", 5, "instances of the ring")
	laps := flag.Int("laps", 3, "how often the headline goes round")
	hold := flag.Duration("hold", 0, "delay of the particle at each stop")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute+time.Duration(*laps**stops)**hold)
	defer cancel()
	if err := publish(ctx, *stops, *laps, *hold); err != nil {
		log.Fatal(err)
	}
}

func publish(ctx context.Context, stops, laps int, hold time.Duration) error {
	rings, err := local.Start(ctx, stops, hold)
	if err != nil {
		return err
	}
	for _, r := range rings {
		// Nobody prints before the one who comes before: the particle waits for each.
		if _, err := r.Station("news", edit, ring.Holds(100*time.Millisecond)); err != nil {
			return err
		}
	}
	headline := []byte("the ring is [slow]")
	for lap := range laps {
		home, err := rings[0].Lap(ctx, "news", headline)
		if err != nil {
			return err
		}
		headline = home.Value
		fmt.Printf("after lap %d, edited by %d: %s\n", lap+1, home.Folded, headline)
	}
	return local.Close(rings)
}

// edit is the station: it sees all headlines that are aboard, and may change each.
func edit(_ context.Context, s *ring.Stop) error {
	for i, p := range s.Passengers {
		headline := p.Value
		if p.Folded == 0 { // nobody has edited it on this lap
			headline = p.Payload
		}
		for k, word := range better {
			if found := []byte("[" + word + "]"); bytes.Contains(headline, found) {
				headline = bytes.ReplaceAll(headline, found, []byte("["+better[(k+1)%len(better)]+"]"))
				break
			}
		}
		fmt.Printf("%s  %s\n", s.Tick.Instance, headline)
		if err := s.SetValue(i, headline); err != nil {
			return err
		}
	}
	return nil
}
