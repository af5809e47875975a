// Command castnode is one member of a fleet in which messages are sent to all, by one
// of several ways, with latency put between the members. The experiments broadcast and
// storm tell it what to send, see package control.
package main

import (
	"errors"
	"flag"
	"io"
	"log"
	"net"
	"strings"
	"time"

	"ringofservers.dev/bench/control"
	"ringofservers.dev/bench/lag"
)

// config is what every kind of member is told.
type config struct {
	index   int
	addrs   []string // of all members; for the hub, of the server only
	preset  string   // of memberlist
	trusts  string   // directory of all identities, see fleet.Identities; "": none
	line    *lag.Line
	receive func(payload []byte, own bool)
	missed  func(n uint64, gone bool) // gone: nobody has them; else the subscriber was slow
}

// member is one way to send to all.
type member interface {
	ready() bool // it can reach all
	publish(payload []byte) error
	count(c *control.Count) error // adds what only it knows
}

// kinds of members.
var kinds = map[string]func(config) (member, error){
	"ring": newRing, "chain": newChain, "memberlist": newGossip, "hub": newHub,
}

func main() {
	kind := flag.String("kind", "ring", "ring, chain, memberlist, hub, or echo")
	index := flag.Int("index", 0, "of this member")
	addrs := flag.String("addrs", "", "addresses of all members, or of the hub, comma-separated")
	preset := flag.String("preset", "lan", "of memberlist: lan or local")
	identities := flag.String("identities", "", "directory with the identities of a ring")
	delay := flag.Duration("delay", 0, "of every hop")
	driver := flag.String("control", "", "address of the program that says what to do")
	flag.Parse()
	log.SetFlags(0)
	line, err := lag.New(*delay)
	if err == nil && *kind == "echo" {
		err = echo(*addrs, line)
	} else if err == nil {
		book := newBook()
		err = run(*kind, *driver, book, config{
			index: *index, addrs: strings.Split(*addrs, ","), preset: *preset, trusts: *identities, line: line,
			receive: book.receive, missed: book.miss,
		})
	}
	if err != nil {
		log.Fatal("castnode: ", err)
	}
}

func run(kind, driver string, b *book, cfg config) error {
	nc, err := net.Dial("tcp", driver)
	if err != nil {
		return err
	}
	c := control.NewConn(nc)
	err = serve(c, kind, b, cfg)
	if errors.Is(err, io.EOF) {
		return nil // the experiment is over
	}
	return errors.Join(err, c.Send(control.Answer{Index: cfg.index, Error: err.Error()}))
}

// serve does what it is told, one thing at a time.
func serve(c *control.Conn, kind string, b *book, cfg config) error {
	begin := kinds[kind]
	if begin == nil {
		return errors.New("no kind of member: " + kind)
	}
	m, err := begin(cfg)
	if err != nil {
		return err
	}
	for !m.ready() {
		time.Sleep(20 * time.Millisecond)
	}
	if err := c.Send(control.Answer{Index: cfg.index, Ready: true}); err != nil {
		return err
	}
	for {
		var o control.Order
		if err := c.Receive(&o); err != nil {
			return err
		}
		a := control.Answer{Index: cfg.index}
		switch o.Do {
		case control.Publish:
			if err := m.publish(payload(o.ID, o.Size)); err != nil {
				return err
			}
			continue
		case control.Storm:
			go b.storm(m, o)
			continue
		case control.Slow:
			b.slow.Store(int64(o.For))
			continue
		case control.Counts:
			a.Count = b.counted()
			if err := m.count(a.Count); err != nil {
				return err
			}
		case control.Report:
			a.Receipts = b.receipts()
		case control.Gather:
			g, ok := m.(interface {
				gather(times int) ([]time.Duration, error)
			})
			if !ok {
				return errors.New("nobody can ask by way of a " + kind)
			}
			if a.Took, err = g.gather(int(o.ID)); err != nil {
				return err
			}
		}
		if err := c.Send(a); err != nil {
			return err
		}
	}
}

// echo sends back what comes, over delayed connections.
func echo(addr string, line *lag.Line) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	l = line.Listener(l)
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			_, _ = io.Copy(onlyWriter{c}, onlyReader{c})
		}()
	}
}

// onlyReader and onlyWriter keep io.Copy from going around a delayed connection.
type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)
