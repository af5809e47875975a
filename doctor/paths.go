package doctor

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"

	"ringofservers.dev/ring"
	"ringofservers.dev/ring/trust"
)

const (
	// AllPairs is the size of a fleet up to which every pair is tried.
	AllPairs = 64
	// SamplePaths is how many others an instance of a larger one tries, besides those with
	// whom it is linked.
	SamplePaths = 16

	// proveAll is the size of a fleet up to which everybody must prove with TLS who he is. In
	// a larger one each asks proveSome of those it tries: a handshake takes some milliseconds
	// of both ends.
	proveAll  = 16
	proveSome = 4

	dialsMax  = 8 // at a time, of one instance
	againMax  = 2 // the same of what was slow, which may be our own doing
	dialTime  = 2 * time.Second
	slowAfter = time.Second
)

// What is wrong with a path.
const (
	refusedPath    = "refused"    // the host answers, and nobody listens there
	silentPath     = "silent"     // nothing comes back
	mutePath       = "mute"       // it is connected, and then nothing comes back
	unresolvedPath = "unresolved" // the name means no address
	strangerPath   = "stranger"   // somebody else answers
	untrustedPath  = "untrusted"  // who answers proves nothing that counts here
	brokenPath     = "broken"     // anything else
	slowPath       = "slow"       // it works, and takes long
)

// reached is how an attempt to reach an address came out.
type reached struct {
	addr string
	kind string // "" where it was reached in time
	what string
}

// Dialer opens a connection to an address of the roster, or says why not: a net.Dialer is one.
type Dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// knocker tries addresses.
type knocker struct {
	dialer Dialer
	trust  *trust.Store // nil: without TLS
}

// knock asks who is at an address, where want should be; without prove it does not ask with TLS,
// and is content to be connected.
func (k knocker) knock(ctx context.Context, addr string, want ring.Name, prove bool) reached {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	begun := time.Now()
	nc, err := k.dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		kind, what := whyNot(err)
		return reached{addr, kind, what}
	}
	defer nc.Close()
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var who ring.Name
	var untrusted *trust.Error
	switch {
	case k.trust != nil && !prove:
	case k.trust != nil: // who it is stands in its certificate, and is checked by the handshake
		peer := trust.ID{Role: trust.Instance, Ring: k.trust.ID().Ring, Name: string(want)}
		err = tls.Client(nc, k.trust.Client(peer)).HandshakeContext(ctx)
	default:
		who, err = whoIsThere(nc, addr)
	}
	took := time.Since(begun)
	switch {
	case errors.As(err, &untrusted):
		return reached{addr, untrustedPath, untrusted.Error()}
	case err != nil && ctx.Err() != nil:
		return reached{addr, mutePath, "it is connected, and says nothing"}
	case err != nil:
		return reached{addr, brokenPath, trust.Explain(err).Error()}
	case who != "" && who != want:
		return reached{addr, strangerPath, string(who)}
	case took > slowAfter:
		return reached{addr, slowPath, fmt.Sprintf("it takes %v", took.Round(time.Millisecond))}
	}
	return reached{addr: addr}
}

// InstanceHeader is what of the answers of /livez says whose they are.
const InstanceHeader = "Ring-Instance"

// whoIsThere asks the instance at the other end for its name, which is empty where it does
// not say it: then it is an older version, or not yet ready to.
func whoIsThere(nc net.Conn, host string) (ring.Name, error) {
	if _, err := fmt.Fprintf(nc, "GET /livez HTTP/1.0\r\nHost: %s\r\nConnection: close\r\n\r\n", host); err != nil {
		return "", fmt.Errorf("it hangs up: %w", err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(io.LimitReader(nc, 8<<10)), nil)
	if err != nil {
		return "", fmt.Errorf("it answers what no instance does: %w", err)
	}
	answer.Body.Close()
	return ring.Name(answer.Header.Get(InstanceHeader)), nil
}

// whyNot puts an error of a dial into a few words.
func whyNot(err error) (kind, what string) {
	var name *net.DNSError
	var late interface{ Timeout() bool }
	switch {
	case errors.As(err, &name):
		return unresolvedPath, name.Err + ": " + name.Name
	case errors.Is(err, syscall.ECONNREFUSED):
		return refusedPath, "connection refused: nobody listens there"
	case errors.As(err, &late) && late.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return silentPath, fmt.Sprintf("no answer within %v: a firewall or a route in between", dialTime)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return brokenPath, err.Error()
}

// target is an instance that is to be tried.
type target struct {
	name  ring.Name
	addr  string
	prove bool // who it is
}

// targets is whom an instance is to try, of all that live as it knows: all in a small fleet,
// else those with whom it wants links and some others. only, unless empty, is the only one
// that is tried by the others; it tries all of its own.
func targets(v []ring.Instance, self, only ring.Name, links []ring.Link, seed uint64) (out []target, sampled bool) {
	// Each begins behind itself, so that not all come to the first at once.
	at := slices.IndexFunc(v, func(i ring.Instance) bool { return i.Name == self }) + 1
	defer func() {
		for i := range out {
			out[i].prove = len(v) <= proveAll || i < proveSome || only != "" && only != self
		}
	}()
	var may []target
	for _, i := range slices.Concat(v[at:], v[:at]) {
		if i.Name == self || i.Address == "" || i.State == ring.Dead || i.State == ring.Left {
			continue
		}
		if only == "" || only == self || only == i.Name {
			may = append(may, target{name: i.Name, addr: i.Address})
		}
	}
	if len(v) <= AllPairs || only != "" && only != self {
		return may, false
	}
	linked := map[ring.Name]bool{}
	for _, l := range links {
		linked[l.Peer] = l.Needed || l.Up
	}
	rest := may[:0:0]
	for _, t := range may {
		if linked[t.name] {
			out = append(out, t)
		} else {
			rest = append(rest, t)
		}
	}
	own := fnv.New64a() // so that each instance of a fleet tries others
	_, _ = own.Write([]byte(self))
	chance := rand.New(rand.NewPCG(seed, own.Sum64()))
	chance.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	out = append(rest[:min(len(rest), SamplePaths):min(len(rest), SamplePaths)], out...)
	return out, len(rest) > SamplePaths
}

// tryPaths knocks at all targets, some at a time, and counts those for which ctx left no time.
// What was slow is tried again, when it is not we who make it so.
func (k knocker) tryPaths(ctx context.Context, self ring.Name, all []target) (paths []Path, tried, untried int) {
	found := k.knockAll(ctx, all, dialsMax)
	var again []target
	for _, t := range all {
		if r, ok := found[t]; ok && (r.kind == mutePath || r.kind == slowPath) {
			again = append(again, t)
		}
	}
	for t, r := range k.knockAll(ctx, again, againMax) { // in any order: each replaces its own
		found[t] = r
	}
	for _, t := range all {
		r, ok := found[t]
		switch {
		case !ok:
			untried++
			continue
		case r.kind != "":
			paths = append(paths, Path{
				To: t.name, Case: r.kind, Count: 1, From: []ring.Name{self},
				What: clipped(t.addr+": "+r.what, textMax),
			})
		}
		tried++
	}
	slices.SortFunc(paths, Path.compare)
	return paths, tried, untried
}

// knockAll is what was found at those targets for which ctx left time, most at a time.
func (k knocker) knockAll(ctx context.Context, all []target, most int) map[target]reached {
	var (
		mu      sync.Mutex
		running sync.WaitGroup
		next    = make(chan target)
		found   = map[target]reached{}
	)
	for range min(most, len(all)) {
		running.Go(func() {
			for t := range next {
				r := k.knock(ctx, t.addr, t.name, t.prove)
				if ctx.Err() != nil && (r.kind == silentPath || r.kind == mutePath) {
					continue // it had less time than others
				}
				mu.Lock()
				found[t] = r
				mu.Unlock()
			}
		})
	}
	for _, t := range all {
		select {
		case next <- t:
		case <-ctx.Done():
		}
	}
	close(next)
	running.Wait()
	return found
}
