package node

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ringofservers.dev/ring/internal/core"
)

// papers is an Identity that believes everybody, until it is told not to.
type papers struct {
	own   tls.Certificate
	leaf  atomic.Pointer[x509.Certificate]
	wrong atomic.Bool
}

// newPapers are good until then.
func newPapers(t *testing.T, until time.Time) *papers {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	p := &papers{own: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}}
	p.leaf.Store(leaf)
	return p
}

func (p *papers) Server() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{p.own}, ClientAuth: tls.RequestClientCert}
}

func (p *papers) Client(string) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{p.own}, InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			_, err := p.Check(cs.PeerCertificates)
			return err
		},
	}
}

var errWrong = errors.New("it was revoked")

func (p *papers) Check(chain []*x509.Certificate) (string, error) {
	if p.wrong.Load() || len(chain) == 0 {
		return "", errWrong
	}
	return "peer", nil
}

func (p *papers) Leaf() *x509.Certificate { return p.leaf.Load() }
func (p *papers) Why(error) string        { return "" }

// linked are two nodes with a link, which the first has dialed; what happens to links is
// sent to the channels.
func linked(t *testing.T, a, b *papers) (dialer, acceptor *Node, dialed, accepted chan core.Event) {
	t.Helper()
	watch := func(events chan core.Event, dial bool) *script {
		return &script{step: func(ev core.Event) []core.Effect {
			switch ev.Kind {
			case core.Dialed, core.Accepted, core.Broken, core.DialFailed:
				events <- ev
			case core.Start:
				if dial {
					return []core.Effect{{Kind: core.Dial, Peer: 0, Timeout: patience, Within: patience}}
				}
			}
			return nil
		}}
	}
	dialed, accepted = make(chan core.Event, 99), make(chan core.Event, 99)
	with := func(p *papers) func(*Config) {
		return func(c *Config) {
			c.Identity, c.Vouch = p, 10*time.Millisecond
			c.Name = func(int) string { return "peer" }
		}
	}
	acceptor = run(t, watch(accepted, false), with(b))
	dialer = run(t, watch(dialed, true), with(a), acceptor.address())
	if ev := next1(t, dialed); ev.Kind != core.Dialed || ev.Name != "peer" {
		t.Fatalf("the dialer's core hears of %+v", ev)
	}
	if ev := next1(t, accepted); ev.Kind != core.Accepted || ev.Name != "peer" {
		t.Fatalf("the acceptor's core hears of %+v", ev)
	}
	return dialer, acceptor, dialed, accepted
}

func next1(t *testing.T, events chan core.Event) core.Event {
	t.Helper()
	select {
	case ev := <-events:
		return ev
	case <-time.After(patience):
		t.Fatal("nothing happens")
	}
	return core.Event{}
}

func (n *Node) says(text string) bool {
	reports, _ := n.Reports(0)
	for _, r := range reports {
		if strings.Contains(r.Text, text) {
			return true
		}
	}
	return false
}

// A link is closed when the certificate of its other end has, and not when the own one has.
func TestEndOfACertificate(t *testing.T) {
	soon, late := time.Now().Add(2*time.Second), time.Now().Add(time.Hour)
	a, b, dialed, accepted := linked(t, newPapers(t, soon), newPapers(t, late))
	if ev := next1(t, accepted); ev.Kind != core.Broken || !b.says("ended at") {
		t.Errorf("the other end hears of %+v, and says that %v", ev, b.says("ended at"))
	}
	if ev := next1(t, dialed); ev.Kind != core.Broken || a.says("ended at") || !a.says("my certificate") {
		t.Errorf("this end hears of %+v", ev)
	}
}

// That the own certificate ends, or has ended, is said now and then, with what to do; once it
// has, not that each of the others refuses it.
func TestEndIsSaid(t *testing.T) {
	refused := func(ev core.Event) []core.Effect {
		if ev.Kind != core.Start {
			return nil
		}
		return []core.Effect{{Kind: core.Tell, Report: core.Report{Kind: core.Refusing, Subject: 0, Text: "it refuses"}}}
	}
	for _, c := range []struct {
		name string
		left time.Duration
		says []string
		told int // in an hour, looked at every ten seconds
	}{
		{"far off", 2 * time.Hour, nil, 0},
		{"soon", 5 * time.Minute, []string{"ends in 5m0s", "renews itself", "ring ca issue", "SIGHUP"}, 1},
		{"ended", -2 * time.Hour, []string{"has ended", "nobody takes links", "ring ca issue", "SIGHUP"}, 60},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := run(t, &script{step: refused}, func(cfg *Config) {
				cfg.Identity, cfg.Vouch = newPapers(t, time.Now().Add(time.Hour)), time.Hour
			})
			if !n.says("it refuses") {
				t.Error("that it is refused is not said")
			}
			now := time.Now()
			from := now.Add(-time.Hour)
			own := &x509.Certificate{NotBefore: now.Add(c.left - 2*time.Hour), NotAfter: now.Add(c.left)}
			n.mu.Lock()
			n.vouch.ending = from
			for at := time.Duration(0); at < time.Hour; at += 10 * time.Second {
				if c.told == 1 { // the end would come nearer
					own.NotAfter = now.Add(at + c.left)
				}
				n.tellEnd(now.Add(at), own)
			}
			n.mu.Unlock()
			reports, _ := n.Reports(0)
			told := 0
			for _, r := range reports {
				if r.Kind != core.Ending {
					continue
				}
				told++
				for _, want := range c.says {
					if !strings.Contains(r.Text, want) {
						t.Errorf("it says %q, want %q in it", r.Text, want)
					}
				}
			}
			if told != c.told {
				t.Errorf("told %d times, want %d", told, c.told)
			}
		})
	}
	n := run(t, &script{step: refused}, func(cfg *Config) {
		cfg.Identity, cfg.Vouch = newPapers(t, time.Now().Add(-time.Minute)), 10*time.Millisecond
	})
	for end := time.Now().Add(patience); !n.says("has ended"); {
		if time.Now().After(end) {
			t.Fatal("the end is not said")
		}
		runtime.Gosched()
	}
	if n.says("it refuses") {
		t.Error("after the end each refusal is said")
	}
}

// Whose certificate counts no more loses its link: the one that dialed gets a chance to show
// another before.
func TestLinksAreVouchedForAgain(t *testing.T) {
	until := time.Now().Add(time.Hour)
	pa, pb := newPapers(t, until), newPapers(t, until)
	_, b, dialed, _ := linked(t, pa, pb)
	pb.wrong.Store(true)
	b.Vouch()
	if ev := next1(t, dialed); ev.Kind != core.Broken || !b.says("revoked") {
		t.Errorf("the link that it accepted: %+v", ev)
	}

	pa, pb = newPapers(t, until), newPapers(t, until)
	a, _, dialed, accepted := linked(t, pa, pb)
	pa.leaf.Store(newPapers(t, until).Leaf()) // as after a renewal
	a.Vouch()
	if ev := next1(t, dialed); ev.Kind != core.Dialed {
		t.Errorf("after a renewal: %+v", ev)
	}
	if ev := next1(t, accepted); ev.Kind != core.Accepted {
		t.Errorf("after a renewal the other end hears of %+v", ev)
	}
	pa.wrong.Store(true) // a new link shows no better certificate: both go
	a.Vouch()
	for range 2 {
		if ev := next1(t, dialed); ev.Kind != core.Broken || !a.says("revoked") {
			t.Errorf("the links that it dialed: %+v", ev)
		}
	}
}

// Links are renewed in the middle of what is left, by the end that dialed, and not too often.
func TestWhenLinksAreRenewed(t *testing.T) {
	now := time.Now()
	day, hour := &x509.Certificate{NotAfter: now.Add(24 * time.Hour)}, &x509.Certificate{NotAfter: now.Add(time.Hour)}
	past := &x509.Certificate{NotAfter: now.Add(-time.Hour)}
	for _, c := range []struct {
		own, other *x509.Certificate
		peer       int
		want       time.Duration
	}{
		{day, day, 3, 12 * time.Hour},
		{day, hour, 3, 30 * time.Minute},
		{hour, day, 0, 30 * time.Minute},
		{past, day, 0, renewMin},
		{nil, hour, -1, 0},
	} {
		p := newProof("peer", []*x509.Certificate{c.other}, c.own, c.peer, now)
		if c.peer < 0 && !p.renew.IsZero() || c.peer >= 0 && !p.renew.Equal(now.Add(c.want)) {
			t.Errorf("%+v is renewed at %v of %v, want after %v", c, p.renew, now, c.want)
		}
	}
}
