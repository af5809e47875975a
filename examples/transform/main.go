// Transform drops a text into a ring whose every stop pipes it through a Transform, here one
// that turns each letter into the next. What comes home is dropped in again, so it keeps
// spinning: after two laps of thirteen stops it is what it was.
//
//	go run ./examples/transform                        # at maximal speed
//	go run ./examples/transform -hold 100ms -laps 4    # with a delay at each stop
//
//	dropped in: Hello, ring!
//	lap 1 of 13 stops: Uryyb, evat!
//	lap 2 of 13 stops: Hello, ring!
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"time"

	"ringofservers.dev/examples/local"
	"ringofservers.dev/ring"
)

func main() {
	stops := flag.Int("stops", 13, "instances of the ring")
	laps := flag.Int("laps", 2, "how often it goes round")
	hold := flag.Duration("hold", 0, "delay of the particle at each stop")
	text := flag.String("text", "Hello, ring!", "what to drop in")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute+time.Duration(*laps**stops)**hold)
	defer cancel()
	if err := spin(ctx, *stops, *laps, *hold, *text); err != nil {
		log.Fatal(err)
	}
}

func spin(ctx context.Context, stops, laps int, hold time.Duration, text string) error {
	rings, err := local.Start(ctx, stops, hold)
	if err != nil {
		return err
	}
	for _, r := range rings {
		// The particle waits for the Transform, but for a tenth of a second at most.
		if _, err := r.Station("text", ring.Transform(next), ring.Holds(100*time.Millisecond)); err != nil {
			return err
		}
	}
	fmt.Println("dropped in:", text)
	for lap := range laps {
		home, err := rings[0].Lap(ctx, "text", []byte(text))
		if err != nil {
			return err
		}
		text = string(home.Value)
		fmt.Printf("lap %d of %d stops: %s\n", lap+1, home.Folded, text)
	}
	return local.Close(rings)
}

// next is a Transform: it reads to the end, and writes each letter as the one that follows it.
func next(in io.Reader, out io.Writer) error {
	letters, shifted := bufio.NewReader(in), bufio.NewWriter(out)
	for {
		b, err := letters.ReadByte()
		switch {
		case errors.Is(err, io.EOF):
			return shifted.Flush()
		case err != nil:
			return err
		case 'a' <= b && b <= 'z':
			b = 'a' + (b-'a'+1)%26
		case 'A' <= b && b <= 'Z':
			b = 'A' + (b-'A'+1)%26
		}
		if err := shifted.WriteByte(b); err != nil {
			return err
		}
	}
}
