package main

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"ringofservers.dev/bench/control"
	"ringofservers.dev/internal/fleet"
)

// castKind is one way to send to all.
type castKind struct {
	name   string
	kind   string   // of castnode
	args   []string // for castnode
	hub    bool     // beside the members there is a nats-server
	gossip bool     // one message is a packet at most
}

// castFleet is members of one kind, told what to do over one connection each.
type castFleet struct {
	b       *bench
	members []*fleet.Proc
	procs   []*fleet.Proc // and the hub
	conns   []*control.Conn
}

// castFleet starts n members and waits until each reaches all.
func (b *bench) castFleet(n int, kind castKind, delay time.Duration) (*castFleet, error) {
	bin, err := b.binary("castnode")
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	addrs, err := fleet.Loopback(n)
	if err != nil {
		return nil, err
	}
	f := &castFleet{b: b, conns: make([]*control.Conn, n)}
	if kind.hub {
		if err := f.startHub(addrs[0]); err != nil {
			return nil, err
		}
	}
	args := append([]string{"-kind", kind.kind, "-delay", delay.String()}, kind.args...)
	return f, f.start(l, addrs, nil, fleet.Spec{Name: kind.name, Path: bin, Args: args})
}

// start starts a member at each address, in a namespace if there are any, and waits until
// each says that it is ready.
func (f *castFleet) start(l net.Listener, addrs []string, spaces *fleet.Net, one fleet.Spec) error {
	for i := range addrs {
		s := one
		s.Name = fmt.Sprintf("%s %d", one.Name, i)
		s.Args = append([]string{
			"-index", strconv.Itoa(i), "-addrs", strings.Join(addrs, ","), "-control", l.Addr().String(),
		}, one.Args...)
		// Each stands for a machine, and they share this one's cores: more threads would
		// look for work in vain.
		s.Env = []string{"GOMAXPROCS=1"}
		if spaces != nil {
			s.Netns = spaces.Namespace(i)
		}
		p, err := f.b.group.Start(s)
		if err != nil {
			return err
		}
		f.members, f.procs = append(f.members, p), append(f.procs, p)
	}
	if err := f.awaitReady(l); err != nil {
		return fmt.Errorf("%w\n%s", err, tail(f.logs()))
	}
	return nil
}

func (f *castFleet) startHub(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	p, err := f.b.group.Start(fleet.Spec{
		Name: "nats-server", Path: "nats-server", Args: []string{"-a", "127.0.0.1", "-p", port},
	})
	f.procs = append(f.procs, p)
	return err
}

// awaitReady takes the connections of all members, by their index.
func (f *castFleet) awaitReady(l net.Listener) error {
	const patience = 90 * time.Second
	type hello struct {
		conn   *control.Conn
		answer control.Answer
		err    error
	}
	hellos := make(chan hello, len(f.conns))
	go func() {
		for range f.conns {
			nc, err := l.Accept()
			if err != nil {
				return // it was closed
			}
			go func() {
				h := hello{conn: control.NewConn(nc)}
				h.err = h.conn.Receive(&h.answer)
				hellos <- h
			}()
		}
	}()
	late := time.After(patience)
	for range f.conns {
		select {
		case h := <-hellos:
			if h.err != nil || !h.answer.Ready {
				return fmt.Errorf("member %d: %s (%v)", h.answer.Index, h.answer.Error, h.err)
			}
			f.conns[h.answer.Index] = h.conn
		case <-late:
			return fmt.Errorf("not all members reach all after %v", patience)
		case <-f.b.ctx.Done():
			return f.b.ctx.Err()
		}
	}
	return nil
}

func (f *castFleet) logs() string {
	var all []string
	for _, p := range f.procs {
		if text := p.Output(); text != "" {
			all = append(all, p.Spec.Name+"\n"+text)
		}
	}
	return strings.Join(all, "\n")
}

// end ends the fleet.
func (f *castFleet) end() {
	for _, c := range f.conns {
		c.Close()
	}
	f.b.clear()
}

// tell gives all members an order that is not answered.
func (f *castFleet) tell(o control.Order) error {
	for _, c := range f.conns {
		if err := c.Send(o); err != nil {
			return err
		}
	}
	return nil
}

// ask gives these members an order and waits for their answers, in order.
func (f *castFleet) ask(o control.Order, whom ...int) ([]control.Answer, error) {
	if len(whom) == 0 {
		for i := range f.conns {
			whom = append(whom, i)
		}
	}
	for _, i := range whom {
		if err := f.conns[i].Send(o); err != nil {
			return nil, fmt.Errorf("member %d: %w\n%s", i, err, tail(f.members[i].Output()))
		}
	}
	answers := make([]control.Answer, len(whom))
	for k, i := range whom {
		if err := f.conns[i].Receive(&answers[k]); err != nil {
			return nil, fmt.Errorf("member %d: %w\n%s", i, err, tail(f.members[i].Output()))
		}
		if text := answers[k].Error; text != "" {
			return nil, fmt.Errorf("member %d: %s", i, text)
		}
	}
	return answers, nil
}

// counts are what these members have counted, of all if none are named.
func (f *castFleet) counts(whom ...int) ([]*control.Count, error) {
	answers, err := f.ask(control.Order{Do: control.Counts}, whom...)
	var counts []*control.Count
	for _, a := range answers {
		counts = append(counts, a.Count)
	}
	return counts, err
}

// load is how busy the processor was: with the fleet, and in all, as shares of all cores.
type load struct {
	at         time.Time
	ours, busy time.Duration
}

func (f *castFleet) load() (load, error) {
	ours, err := cpuOf(f.procs)
	if err != nil {
		return load{}, err
	}
	busy, err := machineBusy()
	return load{time.Now(), ours, busy}, err
}

// since returns the shares since before.
func (l load) since(before load) (ours, busy float64) {
	span := l.at.Sub(before.at).Seconds() * float64(runtime.NumCPU())
	return (l.ours - before.ours).Seconds() / span, (l.busy - before.busy).Seconds() / span
}

// machineBusy is the time all cores together were not idle, since the machine began.
func machineBusy() (time.Duration, error) {
	const hz = 100 // of the kernel's times
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	var ticks int64
	for i, field := range strings.Fields(line)[1:] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read /proc/stat: %w", err)
		}
		if i != 3 && i != 4 && i < 8 { // idle, waiting; guests are in user time already
			ticks += n
		}
	}
	return time.Duration(ticks) * (time.Second / hz), nil
}
