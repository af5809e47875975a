package doctor

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
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

	dialsMax  = 16 // at a time, of one instance
	dialTime  = 2 * time.Second
	slowAfter = time.Second
)

// What is wrong with a path.
const (
	refusedPath    = "refused"    // the host answers, and nobody listens there
	silentPath     = "silent"     // nothing comes back
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

// Dial opens a connection to an address of the roster and returns it, or says why not.
type dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// knocker tries addresses.
type knocker struct {
	dialer dialer
	trust  *trust.Store // nil: without TLS
}

// knock asks who is at an address, where want should be.
func (k knocker) knock(ctx context.Context, addr string, want ring.Name) reached {
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
	if k.trust != nil { // who it is stands in its certificate, and is checked by the handshake
		peer := trust.ID{Role: trust.Instance, Ring: k.trust.ID().Ring, Name: string(want)}
		err = tls.Client(nc, k.trust.Client(peer)).HandshakeContext(ctx)
	} else {
		who, err = whoIsThere(nc, addr)
	}
	took := time.Since(begun)
	switch {
	case errors.As(err, &untrusted):
		return reached{addr, untrustedPath, untrusted.Error()}
	case err != nil && ctx.Err() != nil:
		return reached{addr, silentPath, "it is connected, and says nothing"}
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
	name ring.Name
	addr string
}

// targets is whom an instance is to try, of all that live as it knows: all in a small fleet,
// else those with whom it wants links and some others. only, unless empty, is the only one
// that is tried by the others; it tries all of its own.
func targets(v []ring.Instance, self, only ring.Name, links []ring.Link, seed uint64) (out []target, sampled bool) {
	var may []target
	for _, i := range v {
		if i.Name == self || i.Address == "" || i.State == ring.Dead || i.State == ring.Left {
			continue
		}
		if only == "" || only == self || only == i.Name {
			may = append(may, target{i.Name, i.Address})
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
	chance := rand.New(rand.NewPCG(seed, sumOf(self)))
	chance.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	return append(out, rest[:min(len(rest), SamplePaths)]...), len(rest) > SamplePaths
}

// sumOf makes of a name a number, so that each instance of a fleet tries others.
func sumOf(name ring.Name) uint64 {
	sum := uint64(14695981039346656037)
	for _, b := range []byte(name) {
		sum = (sum ^ uint64(b)) * 1099511628211
	}
	return sum
}

// tryPaths knocks at all targets, some at a time, and counts those for which ctx left no time.
func (k knocker) tryPaths(ctx context.Context, self ring.Name, all []target) (paths []Path, tried, untried int) {
	var (
		mu      sync.Mutex
		running sync.WaitGroup
		next    = make(chan target)
	)
	for range min(dialsMax, len(all)) {
		running.Go(func() {
			for t := range next {
				r := k.knock(ctx, t.addr, t.name)
				mu.Lock()
				switch {
				case r.kind == silentPath && ctx.Err() != nil: // it had less time than others
					untried++
				default:
					tried++
					if r.kind != "" {
						paths = append(paths, Path{
							To: t.name, Case: r.kind, Count: 1, From: []ring.Name{self},
							What: clipped(t.addr+": "+r.what, textMax),
						})
					}
				}
				mu.Unlock()
			}
		})
	}
	for i, t := range all {
		select {
		case next <- t:
			continue
		case <-ctx.Done():
		}
		mu.Lock()
		untried += len(all) - i
		mu.Unlock()
		break
	}
	close(next)
	running.Wait()
	slices.SortFunc(paths, Path.compare)
	return paths, tried, untried
}
