//go:build linux

package processtest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ringofservers.dev/internal/fleet"
)

// message is one line of what `ring events --topic --json` prints.
type message struct {
	From    string `json:"from"`
	Life    uint64 `json:"life"`
	Seq     uint64 `json:"seq"`
	Payload []byte `json:"payload"`
	Missed  uint64 `json:"missed"`
}

// castID names a message.
type castID struct {
	from      string
	life, seq uint64
}

func (m *message) id() castID { return castID{m.From, m.Life, m.Seq} }

// square is what was sent to all, and what came of it.
type square struct {
	t *testing.T
	r *fleet.Ring

	mu     sync.Mutex
	tried  map[string]string // payloads, and who was asked to send each
	names  map[string]castID // what each was called, by whom it reached first
	bodies map[castID]string
	broke  []string
	missed []castID // told as missed by somebody, up to these
}

func newSquare(t *testing.T, r *fleet.Ring) *square {
	return &square{
		t: t, r: r, tried: map[string]string{}, names: map[string]castID{},
		bodies: map[castID]string{},
	}
}

// fault notes what must not be; the first some are enough. The caller holds mu.
func (s *square) fault(format string, args ...any) {
	if len(s.broke) < 20 {
		s.broke = append(s.broke, fmt.Sprintf(format, args...))
	}
}

// post has an instance send a payload that nobody else sends. What it was called is
// known only if there is an answer.
func (s *square) post(api *fleet.API, addr string, i int, payload string) (castID, error) {
	s.mu.Lock()
	s.tried[payload] = s.r.Names[i]
	s.mu.Unlock()
	a, err := api.Do("POST", addr, "/v1/broadcast/load", []byte(payload))
	if err != nil {
		return castID{}, err
	}
	if a.Code != http.StatusOK {
		return castID{}, fmt.Errorf("%d: %s", a.Code, a.Error)
	}
	var m message
	if err := json.Unmarshal(a.Body, &m); err != nil {
		return castID{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.called(m.id(), payload)
	return m.id(), nil
}

// called is that a message has that name, by the word of anybody: every message has one,
// and every name is of one. The caller holds mu.
func (s *square) called(id castID, payload string) {
	if from, ok := s.tried[payload]; !ok || from != id.from {
		s.fault("%v has a payload that %q was to send: %.20q", id, from, payload)
	}
	if was, ok := s.bodies[id]; ok && was != payload {
		s.fault("%v is %.20q, and %.20q elsewhere", id, payload, was)
	}
	if was, ok := s.names[payload]; ok && was != id {
		s.fault("%.20q is called %v, and %v elsewhere", payload, id, was)
	}
	s.bodies[id], s.names[payload] = payload, id
}

// ear is one who follows what is delivered at an instance.
type ear struct {
	s    *square
	name string
	proc *fleet.Proc // that prints it, or nil
	last map[string]castID
	debt uint64 // messages that it was told it was too slow for
	late uint64 // all that debt ever was
	gaps uint64 // messages that its instance missed
	got  map[string]int
}

func (s *square) newEar(i int) *ear {
	return &ear{s: s, name: s.r.Names[i], last: map[string]castID{}, got: map[string]int{}}
}

// listen follows instance i as an operator does there.
func (s *square) listen(i int) *ear {
	s.t.Helper()
	e := s.newEar(i)
	spec := fleet.Spec{
		Name: "events of " + e.name, Path: program,
		Args: []string{"events", "--topic", "", "--json", "--addr", s.r.Addrs[i]},
		Line: func(_ time.Time, line string) {
			if strings.HasPrefix(line, "{") {
				e.hear([]byte(line))
			}
		},
	}
	if s.r.Net != nil {
		spec.Netns = s.r.Net.Namespace(i)
	}
	p, err := s.r.Group.Start(spec)
	if err != nil {
		s.t.Fatal(err)
	}
	e.proc = p
	return e
}

// hear is B1 for one who follows: each once, those of one origin in order and without
// holes but those it is told of.
func (e *ear) hear(line []byte) {
	var m message
	err := json.Unmarshal(line, &m)
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	if err != nil {
		e.s.fault("%s prints %.80q: %v", e.name, line, err)
		return
	}
	if m.From == "" { // it was too slow for that many, of whomever
		e.debt += m.Missed
		e.late += m.Missed
		return
	}
	first := m.Seq
	if m.Missed > 0 {
		e.s.missed = append(e.s.missed, m.id())
		first -= m.Missed - 1
		e.gaps += m.Missed
	} else {
		e.s.called(m.id(), string(m.Payload))
		e.got[m.From]++
	}
	last, known := e.last[m.From]
	e.last[m.From] = m.id()
	var want uint64
	switch {
	case !known: // it began to listen in the middle
		return
	case m.Life < last.life || m.Life == last.life && first <= last.seq:
		e.s.fault("%s gets %v after %v", e.name, m.id(), last)
		return
	case m.Life == last.life:
		want = last.seq + 1
	default:
		want = 1
	}
	if jump := first - want; jump > e.debt {
		e.s.fault("%s gets %v after %v, and was told of no more than %d it does not get", e.name,
			m.id(), last, e.debt)
	} else {
		e.debt -= jump
	}
}

// heard reports how many messages it has been given.
func (e *ear) heard() int {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	return e.sum()
}

// sum is the same for who holds mu.
func (e *ear) sum() (n int) {
	for _, got := range e.got {
		n += got
	}
	return n
}

// level has each instance send one more message: all who listen get each of them, and
// so are where everybody else is.
func (s *square) level(ears []*ear) map[string]castID {
	s.t.Helper()
	final := map[string]castID{}
	for i := range s.r.Names {
		api, addr := s.r.Local(i, patience)
		id, err := s.post(api, addr, i, fmt.Sprintf("the last of %d", i))
		if err != nil {
			s.t.Fatal(err)
		}
		final[id.from] = id
	}
	for _, e := range ears {
		for from, id := range final { // each is waited for: order does not matter
			err := fleet.Await(patience, "it gets the last", func() bool {
				s.mu.Lock()
				defer s.mu.Unlock()
				return e.last[from] == id
			})
			if err != nil {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.t.Fatalf("%s has %v of those that should be %v: %v", e.name, e.last, final, err)
			}
		}
	}
	return final
}

// check says what was wrong. kept is for which lives nothing may be missed: those that
// are newest, by origin, as long as what was sent fits into what all keep.
func (s *square) check(kept map[string]castID) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range s.missed {
		if kept[id.from].life == id.life {
			s.fault("somebody is told that it missed what comes before %v, which all others keep", id)
		}
	}
	s.t.Logf("%d messages, %d gaps told", len(s.bodies), len(s.missed))
	for _, b := range s.broke {
		s.t.Error(b)
	}
}

// shout has instance i send messages at that pace until done is closed; what cannot be
// sent is not sent again.
func (s *square) shout(i int, pause time.Duration, sizes func(n int) int, done <-chan struct{}) {
	api, addr := s.r.Local(i, 3*time.Second)
	pace := time.NewTicker(pause)
	defer pace.Stop()
	for n := 0; ; n++ {
		select {
		case <-done:
			return
		case <-pace.C:
		}
		_, _ = s.post(api, addr, i, body(i, n, sizes(n))) // the instance may be down
	}
}

// body is a payload that no other is like.
func body(i, n, size int) string {
	name := fmt.Sprintf("%d/%d/", i, n)
	return name + strings.Repeat("x", max(0, size-len(name)))
}

// B1 under kills, stops and cuts: all instances send all the time.
func TestB1EachOnceInOrderUnderFaults(t *testing.T) {
	t.Parallel()
	k := newKept(t, 5, true)
	k.up(k.All(), k.All())
	s := newSquare(t, k.Ring)
	ears := make([]*ear, len(k.Names))
	done, stopped := make(chan struct{}), sync.WaitGroup{}
	hang := sync.OnceFunc(func() { close(done) })
	defer stopped.Wait()
	defer hang()
	for i := range k.Names {
		ears[i] = s.listen(i)
		stopped.Go(func() {
			s.shout(i, 60*time.Millisecond, func(n int) int { return []int{20, 600, 3000}[n%3] }, done)
		})
	}
	hears := func(who []int) {
		t.Helper()
		for _, i := range who {
			from := ears[i].heard()
			await(t, k.Names[i]+" goes on hearing", func() bool { return ears[i].heard() >= from+2*len(who) })
		}
	}
	hears(k.All())
	for begin, n := time.Now(), 0; k.more(begin, n); n++ {
		order := k.rand.Perm(5)
		faults := []func(){
			func() {
				i := order[0]
				k.killed(func(rest []int) {
					<-ears[i].proc.Done() // it has nobody to ask any more
					hears(rest)
				}, i)
				ears[i] = s.listen(i)
			},
			func() { k.stopped(hears, order[1]) },
			func() { k.cut(hears, order[2], k.oneWay()) },
			func() { k.cut(hears, order[3], k.Net.Mute, k.Net.Deafen) },
		}
		for _, f := range k.rand.Perm(len(faults)) {
			faults[f]()
			hears(k.All())
		}
	}
	hang()
	stopped.Wait()
	s.check(s.level(ears))
}

// storm is for how long all send as fast as they can.
func storm() time.Duration {
	if os.Getenv("PROCESSTEST_CHAOS") != "" {
		return time.Minute
	}
	return 4 * time.Second
}

// stormMemory is what an instance may have in RAM at most while all send as much as they
// can: 8 MiB of messages kept, 4 that wait for others before them, 4 in the queue of
// those who listen and as much with each, some for the links and for who listens over
// HTTP; twice that since the collector runs when the heap has doubled; and the program.
// The race detector takes several times as much of everything.
func stormMemory() int64 {
	if raced {
		return 1 << 30
	}
	return 160 << 20
}

// A storm of messages: nobody takes anybody for dead, memory stays within its bounds,
// and what is delivered is B1 still.
func TestB1StormKillsNobody(t *testing.T) {
	t.Parallel()
	r := started(t, newRing(t, 5))
	view, begin := status(t, r, 0).View, time.Now()
	s := newSquare(t, r)
	var ears []*ear
	var peak atomic.Int64
	done, stopped := make(chan struct{}), sync.WaitGroup{}
	hang := sync.OnceFunc(func() { close(done) })
	defer stopped.Wait()
	defer hang()
	for i := range r.Names {
		ears = append(ears, s.stream(i))
	}
	var sent atomic.Uint64
	for i := range r.Names {
		for lane := range 2 {
			stopped.Go(func() {
				for n := 0; s.blast(i, 2*n+lane, &sent, done); n++ {
				}
			})
		}
	}
	for end := time.After(storm()); ; {
		for i := range r.Names {
			peak.Store(max(peak.Load(), resident(t, r.Proc(i).PID())))
		}
		select {
		case <-end:
		case <-time.After(100 * time.Millisecond):
			continue
		}
		break
	}
	hang()
	stopped.Wait()
	s.level(ears)
	s.thrives(ears)
	t.Logf("%d messages sent, at most %d MiB resident", sent.Load(), peak.Load()>>20)
	if most := stormMemory(); peak.Load() > most {
		t.Errorf("%d MiB resident, want %d at most", peak.Load()>>20, most>>20)
	}
	never(t, r, r.All(), begin, "died", "")
	never(t, r, r.All(), begin, "cut_off", "")
	for i := range r.Names {
		if now := status(t, r, i).View; now != view {
			t.Errorf("%s has view %s, it was %s before", r.Names[i], now, view)
		}
	}
	s.check(nil) // more was sent than anybody keeps
}

// thrives is that a storm is no loss of all: each instance is given messages of every
// other, beside the last one that level sends, and more than it misses. What they who
// follow it are too slow for does not count, it may have been them.
func (s *square) thrives(ears []*ear) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range ears {
		s.t.Logf("%s gives %v, misses %d, and who follows is too slow for %d", e.name, e.got, e.gaps,
			e.late)
		for _, from := range s.r.Names {
			if e.got[from] < 2 && e.late == 0 {
				s.t.Errorf("%s gives %d messages of %s", e.name, e.got[from], from)
			}
		}
		if got := uint64(e.sum()) + e.late; got <= e.gaps {
			s.t.Errorf("%s gets %d messages, and misses %d", e.name, got, e.gaps)
		}
	}
}

// blast has instance i send one message over a connection that stays, and reports
// whether to go on.
func (s *square) blast(i, n int, sent *atomic.Uint64, done <-chan struct{}) bool {
	select {
	case <-done:
		return false
	default:
	}
	payload := body(i, n, []int{100, 900, 20_000}[n%3])
	s.mu.Lock()
	s.tried[payload] = s.r.Names[i]
	s.mu.Unlock()
	resp, err := http.Post("http://"+s.r.Addrs[i]+"/v1/broadcast/load", "", strings.NewReader(payload))
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.fault("post to %s: %v", s.r.Names[i], err)
		return false
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		sent.Add(1)
	}
	return true
}

// stream follows instance i over HTTP, until its test ends.
func (s *square) stream(i int) *ear {
	s.t.Helper()
	e := s.newEar(i)
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet,
		"http://"+s.r.Addrs[i]+"/v1/messages", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		lines := bufio.NewReaderSize(resp.Body, 1<<20)
		for {
			line, err := lines.ReadBytes('\n')
			switch {
			case s.t.Context().Err() != nil:
				return
			case err != nil:
				s.mu.Lock()
				defer s.mu.Unlock()
				s.fault("the stream of %s ends: %v", e.name, err)
				return
			}
			e.hear(line)
		}
	}()
	s.t.Cleanup(func() {
		resp.Body.Close()
		<-ended
	})
	return e
}

// One that is stopped and a client that reads nothing slow nobody else: all that is sent
// meanwhile, more than any buffer holds, reaches the others before either goes on.
func TestB1StuckOnesSlowNobodyElse(t *testing.T) {
	long(t)
	r := started(t, newRing(t, 5))
	s := newSquare(t, r)
	ears := make([]*ear, len(r.Names))
	for i := range r.Names {
		ears[i] = s.stream(i)
	}
	deafClient := dialStream(t, r.Addrs[0])
	signal(t, r, 4, syscall.SIGSTOP)
	const (
		many  = 150 // times 2 times 40,000 bytes: more than is kept
		burst = 25  // of them fit into the queue of who listens, however slow it is
	)
	api := fleet.NewAPI(patience)
	newest := map[int]castID{}
	for n := range many {
		for i := range 2 {
			id, err := s.post(api, r.Addrs[i], i, body(i, n, 40_000))
			if err != nil {
				t.Fatalf("%s, number %d: %v", r.Names[i], n, err)
			}
			newest[i] = id
		}
		if n%burst < burst-1 {
			continue
		}
		for _, e := range ears[:4] {
			for i := range 2 {
				await(t, fmt.Sprintf("%s has all of %s", e.name, r.Names[i]), func() bool {
					s.mu.Lock()
					defer s.mu.Unlock()
					return e.last[r.Names[i]] == newest[i]
				})
			}
		}
	}
	s.mu.Lock()
	for _, e := range ears[:4] {
		if got := e.sum(); got != 2*many || e.gaps+e.late > 0 {
			t.Errorf("%s gets %d messages of %d, misses %d and is too slow for %d", e.name, got, 2*many,
				e.gaps, e.late)
		}
	}
	s.mu.Unlock()
	signal(t, r, 4, syscall.SIGCONT)
	whole(t, r, r.All())
	s.level(ears) // and it gets what is kept, and is told of the rest
	s.check(nil)
	deafClient()
}

// dialStream opens a stream of messages and reads nothing of it until the function that
// it returns is called, which finds that some came, or that the instance hung up.
func dialStream(t *testing.T, addr string) (read func()) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
	if _, err := io.WriteString(c, "GET /v1/messages HTTP/1.1\r\nHost: ring\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		_ = c.SetReadDeadline(time.Now().Add(patience))
		b := make([]byte, 1<<10)
		n, err := c.Read(b)
		if !bytes.HasPrefix(b[:n], []byte("HTTP/1.1 200 ")) && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the client that read nothing reads %s, %v", strconv.Quote(string(b[:n])), err)
		}
	}
}
