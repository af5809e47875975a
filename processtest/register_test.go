//go:build linux

package processtest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"ringofservers.dev/internal/fleet"
)

const (
	registerKeys  = 6
	registerPace  = 15 * time.Millisecond // of one client: so that histories stay short
	registerWait  = 2 * time.Second       // for one request, before it is given up
	registerCheck = 2 * time.Minute       // for the checker, which is exponential at worst
)

// operation is one request of a client. Values are unique.
type operation struct {
	kind  string // get, put, cas
	key   string
	value string
	old   uint64 // revision that a cas asks for
}

// outcome is what the client knows of it.
type outcome struct {
	known bool
	code  int
	value string // of a get
	rev   uint64
}

// register is a key as the checker has it: rev 0 is one that is not known.
type register struct {
	there bool
	value string
	rev   uint64
}

// model is one key: written, compared and set, read.
func model() porcupine.Model {
	return porcupine.Model{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			by := map[string][]porcupine.Operation{}
			for _, o := range history {
				key := o.Input.(operation).key
				by[key] = append(by[key], o)
			}
			var parts [][]porcupine.Operation
			for i := range registerKeys {
				if p := by[registerKey(i)]; len(p) > 0 {
					parts = append(parts, p)
				}
			}
			return parts
		},
		Init: func() any { return register{} },
		Step: func(state, input, output any) (bool, any) {
			return step(state.(register), input.(operation), output.(outcome))
		},
		DescribeOperation: func(input, output any) string {
			return fmt.Sprintf("%+v -> %+v", input, output)
		},
	}
}

func registerKey(i int) string { return "register/" + strconv.Itoa(i) }

// step is what a register does. What is not known to have been done comes at any
// time, even after everything else.
func step(s register, in operation, out outcome) (bool, any) {
	wrote := register{true, in.value, out.rev}
	switch {
	case in.kind == "get" && out.code == http.StatusNotFound:
		return !s.there, s
	case in.kind == "get":
		ok := s.there && s.value == out.value && (s.rev == 0 || s.rev == out.rev)
		return ok, register{true, out.value, out.rev}
	case in.kind == "put":
		return !out.known || out.rev > s.rev, wrote
	}
	// A cas. Where the revision is not known nobody has seen it, nor asks for it,
	// unless a conflict has told it.
	fits := in.old == s.rev && (s.there || in.old == 0)
	if in.old == 0 {
		fits = !s.there
	}
	maybe := s.there && s.rev == 0 && in.old != 0
	switch {
	case !out.known && (fits || maybe):
		return true, wrote
	case !out.known:
		return true, s
	case out.code == http.StatusConflict:
		if maybe && out.rev != in.old {
			return true, register{true, s.value, out.rev}
		}
		return !fits && s.there == (out.rev > 0) && (s.rev == 0 || s.rev == out.rev), s
	}
	return (fits || maybe) && out.rev > s.rev, wrote
}

// clients ask, write and compare through instances at random, at once.
type clients struct {
	k     *kept
	begin time.Time
	stop  func()
	done  atomic.Int64 // answered as wished

	mu      sync.Mutex
	history []porcupine.Operation
	seen    map[string]uint64 // newest revision that anybody has heard of, by key
	codes   map[string]int
	broke   []string
}

func newClients(k *kept, n int) *clients {
	ctx, cancel := context.WithCancel(context.Background())
	c := &clients{k: k, begin: time.Now(), seen: map[string]uint64{}, codes: map[string]int{}}
	var all sync.WaitGroup
	c.stop = sync.OnceFunc(func() {
		cancel()
		all.Wait()
	})
	k.t.Cleanup(c.stop)
	for id := range n {
		chance := rand.New(rand.NewPCG(k.rand.Uint64(), uint64(id)))
		all.Go(func() { c.run(ctx, id, chance) })
	}
	return c
}

// run is one client: one request after the other.
func (c *clients) run(ctx context.Context, id int, chance *rand.Rand) {
	pace := time.NewTicker(registerPace)
	defer pace.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-pace.C:
		}
		in := operation{
			key:   registerKey(chance.IntN(registerKeys)),
			value: fmt.Sprintf("%d.%d", id, n),
		}
		switch in.kind = []string{"get", "put", "cas", "cas"}[chance.IntN(4)]; in.kind {
		case "get":
			in.value = ""
		case "cas":
			c.mu.Lock()
			in.old = c.seen[in.key]
			c.mu.Unlock()
		}
		c.ask(id, chance.IntN(len(c.k.Names)), in)
	}
}

// ask does one request through instance i, and keeps what came of it.
func (c *clients) ask(id, i int, in operation) {
	call := time.Since(c.begin)
	out, whole := c.request(i, in)
	back := time.Since(c.begin)
	if !whole {
		return // it was certainly not done, or it asked and heard nothing
	}
	if !out.known {
		// It may be done at any time from now on: it ends behind all others.
		id, back = -1, 1<<62
	} else {
		c.done.Add(1)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if out.rev > c.seen[in.key] {
		c.seen[in.key] = out.rev
	}
	c.history = append(c.history, porcupine.Operation{
		ClientId: id, Input: in,
		Call: int64(call), Output: out, Return: int64(back),
	})
}

// request returns whole=false for what cannot have changed anything.
func (c *clients) request(i int, in operation) (out outcome, whole bool) {
	api, addr := c.k.Local(i, 2*registerWait)
	wait := []string{"timeout", registerWait.String()}
	var a fleet.Answer
	var err error
	switch in.kind {
	case "get":
		a, err = api.Do("GET", addr, fleet.KeyPath(in.key, wait...), nil)
	case "put":
		a, err = api.Do("PUT", addr, fleet.KeyPath(in.key, wait...), []byte(in.value))
	default:
		wait = append(wait, "if_revision", strconv.FormatUint(in.old, 10))
		a, err = api.Do("PUT", addr, fleet.KeyPath(in.key, wait...), []byte(in.value))
	}
	if err != nil {
		c.count("no answer")
		return outcome{}, in.kind != "get" && !refused(err)
	}
	c.count(strconv.Itoa(a.Code))
	switch a.Code {
	case http.StatusNotFound:
		if in.kind != "get" {
			break
		}
		fallthrough
	case http.StatusOK, http.StatusConflict:
		out = outcome{known: true, code: a.Code, rev: a.Revision}
		if in.kind == "get" && a.Code == http.StatusOK {
			var e fleet.Entry
			if err := json.Unmarshal(a.Body, &e); err != nil {
				c.wrong("%s: %v", a.Body, err)
			}
			out.value, out.rev = string(e.Value), e.Revision
		}
		return out, true
	case http.StatusGatewayTimeout:
		return outcome{}, in.kind != "get"
	case http.StatusServiceUnavailable:
		if len(a.Body) == 0 {
			c.wrong("%s refuses and does not say why", c.k.Names[i])
		}
		return outcome{}, false // it says that it was not done
	}
	c.wrong("%s answers %+v with %d: %s", c.k.Names[i], in, a.Code, a.Body)
	return outcome{}, in.kind != "get"
}

// refused says whether nobody has heard the request.
func refused(err error) bool { return strings.Contains(err.Error(), "connection refused") }

func (c *clients) count(what string) {
	c.mu.Lock()
	c.codes[what]++
	c.mu.Unlock()
}

func (c *clients) wrong(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.broke) < 20 {
		c.broke = append(c.broke, fmt.Sprintf(format, args...))
	}
}

// served waits until some more was done.
func (c *clients) served([]int) {
	c.k.t.Helper()
	from := c.done.Load()
	await(c.k.t, "requests are served", func() bool { return c.done.Load() >= from+30 })
}

// check ends the clients and has the history judged.
func (c *clients) check() {
	c.k.t.Helper()
	c.stop()
	for _, b := range c.broke {
		c.k.t.Error(b)
	}
	unknown := 0
	for _, o := range c.history {
		if !o.Output.(outcome).known {
			unknown++
		}
	}
	c.k.t.Logf("%d requests in the history, %d with unknown outcome; answers: %v", len(c.history),
		unknown, c.codes)
	for _, part := range model().Partition(c.history) {
		switch porcupine.CheckOperationsTimeout(model(), part, registerCheck) {
		case porcupine.Illegal:
			c.k.t.Errorf("the history of a key is not linearizable:\n%s", text(part))
		case porcupine.Unknown:
			c.k.t.Logf("the checker came to no end within %v", registerCheck)
		}
	}
}

// text is a history in the order of its calls.
func text(history []porcupine.Operation) string {
	history = slices.Clone(history)
	slices.SortFunc(history, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	var b strings.Builder
	for _, o := range history {
		fmt.Fprintf(&b, "%12v", time.Duration(o.Call))
		if o.ClientId >= 0 {
			fmt.Fprintf(&b, " %12v client %d", time.Duration(o.Return), o.ClientId)
		}
		fmt.Fprintf(&b, "  %+v -> %+v\n", o.Input, o.Output)
	}
	return b.String()
}

// minority checks that an instance without a quorum refuses reads and writes and
// says why, and still shows what it has.
func (k *kept) minority(i int) {
	k.t.Helper()
	for _, method := range []string{"PUT", "GET"} {
		await(k.t, k.Names[i]+" refuses a "+method, func() bool {
			a := k.do(i, method, fleet.KeyPath("known", "timeout", "1s"), []byte("x"))
			return a.Code == http.StatusServiceUnavailable && contains(a.Error, "no quorum")
		})
	}
	if a := k.do(i, "GET", fleet.KeyPath("known", "local", ""), nil); a.Code != http.StatusOK {
		k.t.Errorf("%s does not show what it has: %d %s", k.Names[i], a.Code, a.Error)
	}
}

func TestS1KeysAreLinearizable(t *testing.T) {
	t.Parallel()
	k := newKept(t, 5, true)
	k.up(k.All(), k.All())
	k.put(0, "known", "x")
	c := newClients(k, 4)
	for begin, n := time.Now(), 0; k.more(begin, n); n++ {
		c.served(nil)

		lead := k.leader(k.All())
		k.killed(c.served, lead, (lead+1+k.rand.IntN(4))%5)
		lead = k.leader(k.All())
		k.stopped(func(rest []int) {
			k.leader(rest)
			c.served(rest)
		}, lead)
		k.again()
		c.served(nil)

		lead = k.leader(k.All())
		k.cut(func(rest []int) {
			k.leader(rest)
			c.served(rest)
		}, lead, k.oneWay())
		k.again()

		lead = k.leader(k.All())
		k.parted(func(few, rest []int) {
			for _, i := range few {
				k.minority(i)
			}
			c.served(rest)
		}, lead, (lead+1+k.rand.IntN(4))%5)
		k.again()
		c.served(nil)
	}
	c.check()
}
