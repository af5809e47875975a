//go:build linux

// Command leaser is an instance of a ring as a third party would write one: it
// joins through package ring, wants one lease again and again, and while it
// holds it writes to a resource that looks at the fence. It takes the flags of
// `ring node` that the process tests give.
//
// Each write says from when until when, by the clock that counts suspension,
// this process has seen its lease valid. It works between that look and the
// write, as programs do: a stop may fall in between, and the write is then for
// the resource to refuse.
//
// As "leaser write DIR" it is no instance but what `ring run` runs.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/pelletier/go-toml/v2"
	"golang.org/x/sys/unix"

	"ringofservers.dev/admin"
	"ringofservers.dev/ring"
)

const (
	lease = "the/one"
	ttl   = 1500 * time.Millisecond
	work  = 5 * time.Millisecond // between the look at the lease and the write
	turns = 200                  // writes until it lets others have it
	limit = 3 * time.Second      // for any one request
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 2 && args[0] == "write" {
		return write(args[1])
	}
	config, err := settings(args)
	if err != nil {
		return err
	}
	config.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	r, err := ring.Join(context.Background(), config)
	if err != nil {
		return err
	}
	r.Handle(admin.New(r, admin.Options{}))
	w := &writer{
		url: os.Getenv("LEASER_RESOURCE"), name: config.Name,
		client: http.Client{Timeout: limit},
	}
	for r.Err() == nil {
		if err := w.turn(r); err != nil {
			fmt.Fprintln(os.Stderr, "no turn:", err)
			select {
			case <-r.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	return r.Err()
}

// settings reads the flags, and the file that they name.
func settings(args []string) (ring.Config, error) {
	if len(args) > 0 && args[0] == "node" {
		args = args[1:]
	}
	var c ring.Config
	flags := flag.NewFlagSet("leaser", flag.ContinueOnError)
	name := flags.String("name", "", "this instance")
	file := flags.String("config", "", "the file with the ring and its roster")
	flags.StringVar(&c.Data, "data", "", "directory")
	flags.StringVar(&c.Listen, "listen", "", "host:port")
	flags.BoolVar(&c.Insecure, "insecure", false, "links in the clear")
	flags.DurationVar(&c.Hold, "hold", 0, "rest of the particle")
	if err := flags.Parse(args); err != nil {
		return c, err
	}
	text, err := os.ReadFile(*file)
	if err != nil {
		return c, err
	}
	var written struct {
		Ring     string
		Instance []struct {
			Name    ring.Name
			Address string
		}
	}
	if err := toml.Unmarshal(text, &written); err != nil {
		return c, fmt.Errorf("%s: %w", *file, err)
	}
	c.Ring, c.Name = written.Ring, ring.Name(*name)
	for _, one := range written.Instance {
		c.Roster.Names = append(c.Roster.Names, one.Name)
		c.Roster.Addresses = append(c.Roster.Addresses, one.Address)
	}
	return c, nil
}

// writer writes to the resource.
type writer struct {
	url    string
	name   ring.Name
	client http.Client
}

// turn holds the lease once.
func (w *writer) turn(r *ring.Ring) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	l, err := r.LeaseFor(ctx, lease, ttl)
	if err != nil {
		return err
	}
	var first, last time.Duration
	for range turns {
		at, ok := sure(l)
		if !ok {
			break
		}
		if last = at; first == 0 {
			first = at
		}
		time.Sleep(work)
		w.write(l.Fence(), first, last, "more")
	}
	// The last write looks at nothing: where the lease was lost, others may hold it.
	w.write(l.Fence(), first, last, "")
	return l.Release(ctx)
}

// sure is a moment at which the lease was valid: it still was behind it.
func sure(l *ring.Lease) (at time.Duration, ok bool) {
	if !l.Valid() {
		return 0, false
	}
	at = boot()
	return at, l.Valid()
}

// write tells the resource; what becomes of it, that says.
func (w *writer) write(fence uint64, first, last time.Duration, more string) {
	q := url.Values{
		"fence":    {strconv.FormatUint(fence, 10)},
		"instance": {string(w.name)},
		"first":    {strconv.FormatInt(int64(first), 10)},
		"last":     {strconv.FormatInt(int64(last), 10)},
		"more":     {more}, // set: this write is not the last of its turn
	}
	resp, err := w.client.Post(w.url+"?"+q.Encode(), "text/plain", nil)
	if err == nil {
		resp.Body.Close()
	}
}

// boot is the clock that goes on while a host sleeps, the same in all processes.
func boot() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic(err)
	}
	return time.Duration(t.Nano())
}
