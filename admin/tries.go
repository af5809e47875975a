package admin

import (
	"hash/maphash"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Limits of what is refused. A token cannot be guessed however often one tries, so they are
// there for the log and the processor, and whoever shows a good one is let in, whatever came
// from his address before.
const (
	triesSlots = 1024 // addresses that are told apart; more share them
	triesBurst = 10   // wrong credentials of one address at once, and then
	triesRate  = 1.0  // in a second, until it is answered 429
	linesBurst = 5    // lines about refusals of one address, and then
	linesRate  = 0.1  // in a second
	allBurst   = 20   // lines about refusals of all addresses, and then
	allRate    = 1.0  // in a second
)

// tries remembers refusals of late, by address, in a table that does not grow. Its methods
// are safe for concurrent use.
type tries struct {
	seed maphash.Seed // so that nobody can choose whom he shares a slot with

	mu    sync.Mutex // guards what follows
	slots [triesSlots]struct{ wrong, lines bucket }
	all   bucket // lines
	lost  uint64 // lines that were not written since the last one that was
}

func newTries() *tries { return &tries{seed: maphash.MakeSeed()} }

// bucket leaks at a rate; each drop that it has room for is one that may pass.
type bucket struct {
	level float64
	at    time.Time
}

func (b *bucket) pass(now time.Time, burst, rate float64) bool {
	b.level = max(0, b.level-max(0, now.Sub(b.at).Seconds())*rate)
	b.at = now
	if b.level+1 > burst {
		return false
	}
	b.level++
	return true
}

// failed notes wrong credentials, and says whether that address may go on showing them.
func (t *tries) failed(remote string, now time.Time) bool {
	i := t.slot(remote)
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.slots[i].wrong.pass(now, triesBurst, triesRate)
}

// heard says whether a refusal is worth a line.
func (t *tries) heard(remote string, now time.Time) bool {
	i := t.slot(remote)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.slots[i].lines.pass(now, linesBurst, linesRate) && t.all.pass(now, allBurst, allRate) {
		return true
	}
	t.lost++
	return false
}

// unheard is how many were not, since the last call.
func (t *tries) unheard() (n uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, t.lost = t.lost, 0
	return n
}

// slot is that of an address; of IPv6 it is the network's, since each host has as many
// addresses there as it likes.
func (t *tries) slot(remote string) uint64 {
	text := host(remote)
	if ip, err := netip.ParseAddr(text); err == nil && ip.Is6() && !ip.Is4In6() {
		if net, err := ip.Prefix(64); err == nil {
			text = net.String()
		}
	}
	return maphash.String(t.seed, text) % triesSlots
}

// host is an address without its port.
func host(address string) string {
	if h, _, err := net.SplitHostPort(address); err == nil {
		return h
	}
	return address
}
