// Command barering is one stop of the barest ring there is: one goroutine that
// reads 64 bytes from the process before it and writes them to the process
// after it. It is what the kernel and the Go runtime cost, and nothing else.
//
// The first stop (-first) sends the 64 bytes off once the ring is closed,
// counts laps and prints "laps <n> seconds <s>" after -warm and -for.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"time"
)

func main() {
	listen := flag.String("listen", "", "address of this stop")
	next := flag.String("next", "", "address of the next stop")
	first := flag.Bool("first", false, "send off the particle and count")
	warm := flag.Duration("warm", time.Second, "laps before counting")
	span := flag.Duration("for", 5*time.Second, "time to count")
	flag.Parse()
	log.SetFlags(0)
	if err := stop(*listen, *next, *first, *warm, *span); err != nil {
		log.Fatal("barering: ", err)
	}
}

func stop(listen, next string, first bool, warm, span time.Duration) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	out, err := dial(next)
	if err != nil {
		return err
	}
	in, err := l.Accept()
	if err != nil {
		return err
	}
	var particle [64]byte
	if !first {
		for {
			if _, err := io.ReadFull(in, particle[:]); err != nil {
				return nil // the ring is being taken down
			}
			if _, err := out.Write(particle[:]); err != nil {
				return nil
			}
		}
	}
	if _, err := lap(in, out, particle[:], warm, true); err != nil {
		return err
	}
	begin := time.Now()
	laps, err := lap(in, out, particle[:], span, false)
	if err != nil {
		return err
	}
	fmt.Printf("laps %d seconds %.6f\n", laps, time.Since(begin).Seconds())
	return nil
}

// lap turns the ring for that long, reading the clock each 32 laps.
func lap(in io.Reader, out io.Writer, particle []byte, span time.Duration, off bool) (int, error) {
	if off {
		if _, err := out.Write(particle); err != nil {
			return 0, err
		}
	}
	begin, laps := time.Now(), 0
	for laps%32 != 0 || time.Since(begin) < span {
		if _, err := io.ReadFull(in, particle); err != nil {
			return laps, err
		}
		if _, err := out.Write(particle); err != nil {
			return laps, err
		}
		laps++
	}
	return laps, nil
}

// dial waits up to 10 seconds for the next stop to listen.
func dial(addr string) (net.Conn, error) {
	for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err == nil || time.Since(begin) > 10*time.Second {
			return c, err
		}
	}
}
