package ring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ringofservers.dev/ring/internal/roster"
	"ringofservers.dev/ring/internal/wire"
	"ringofservers.dev/ring/trust"
)

// Config says which instance of which ring to be. Ring, Name and Roster are
// required; the zero value of everything else is a sound default.
type Config struct {
	Ring   string // name of the ring, the same in all its instances
	Name   Name   // this instance's name in Roster
	Roster Roster

	// Listen is the host:port of the one port for links and everything else. If
	// empty, it is this instance's address in Roster. Where that is one address which
	// other hosts reach, the instance listens at 127.0.0.1 and the same port too, if that is
	// free, for who asks it on its own host. Listener takes its place where the caller has one
	// already; the Ring closes it.
	Listen   string
	Listener net.Listener

	// Data is the directory for what must outlive the process: incarnation, epoch,
	// and the log of the bus. It is made if missing, and belongs to this instance
	// alone. If empty, nothing is kept and the instance learns all of it from its
	// peers; what they agreed on is lost when most of them end at once.
	Data string

	// BulkKeep is how many bytes of large payloads are kept, in Data or, without that, in
	// files without a name where temporary files are, until the instance ends. Zero stands
	// for 2 GiB; a payload that is larger than it does not come here.
	BulkKeep int64

	Timing Timing // zero: LAN()

	// Hold is how long the particle rests at this stop. If zero, it is an even
	// share of Timing.Lap, from the second lap of a new particle on. MaxSpeed
	// makes it not rest at all. SetPace changes both later.
	Hold     time.Duration
	MaxSpeed bool

	// TLS is what this instance proves who it is with, and holds others to their names by:
	// links are encrypted then, and each instance speaks for itself alone. It must be of Ring
	// and Name, and all instances of a ring have one, or none has. Its port serves https, and
	// plain HTTP to this host. It may change while the ring runs: see [trust.Store].
	TLS *trust.Store

	// Insecure permits plain connections to and from other hosts, without TLS. Whoever can
	// reach the port can then read and disturb the ring.
	Insecure bool

	Version    string                // of the embedding program; empty: from its build information
	Logger     *slog.Logger          // nil: silent
	Registerer prometheus.Registerer // for the ring_ metrics; nil: none
}

// holdMax bounds Hold: a stop that holds the particle longer is a lost one.
const holdMax = time.Hour

// withDefaults returns a whole copy of c, the roster it means and this
// instance's place in it, or all that is wrong with it.
func (c Config) withDefaults() (_ Config, full *roster.Roster, self int, _ error) {
	var errs []error
	full, err := c.Roster.build(c.Ring)
	if err != nil {
		errs = append(errs, err)
	} else if self = full.Index(string(c.Name)); self < 0 {
		errs = append(errs, fmt.Errorf("name %q is not in the roster of %d instances; "+
			"add it there on all instances, or correct it here", c.Name, full.Len()))
	}
	if c.Timing == (Timing{}) {
		c.Timing = LAN()
	}
	errs = append(errs, c.Timing.check(), c.speaksFor())
	if c.BulkKeep < 0 {
		errs = append(errs, fmt.Errorf("large payloads are to keep %d bytes; choose 1 or more, or 0 "+
			"for the default", c.BulkKeep))
	}
	if c.Hold < 0 || c.Hold > holdMax {
		errs = append(errs, fmt.Errorf("hold is %v; choose 0 to %v", c.Hold, holdMax))
	}
	if c.Hold > 0 && c.MaxSpeed {
		errs = append(errs, errors.New("hold and maximum speed exclude each other; choose one"))
	}
	if err := errors.Join(errs...); err != nil {
		return Config{}, nil, 0, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if c.Listen == "" && c.Listener == nil {
		if c.Listen = full.Addr(self); c.Listen == "" {
			return Config{}, nil, 0, fmt.Errorf("%w: no address to listen at; give %s one in the "+
				"roster, or set Listen", ErrConfig, c.Name)
		}
	}
	if c.Version == "" {
		c.Version = buildVersion()
	}
	c.Version = c.Version[:min(len(c.Version), wire.BuildMax)]
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, full, self, nil
}

func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

// secure refuses to speak in the clear with other hosts unless told to.
func (c Config) secure(full *roster.Roster) error {
	if c.Insecure || c.TLS != nil {
		return nil
	}
	var open []string
	switch {
	case c.Listener != nil:
		if a := c.Listener.Addr(); strings.HasPrefix(a.Network(), "tcp") && !onLoopback(a.String()) {
			open = append(open, "listener "+a.String())
		}
	case !onLoopback(c.Listen):
		open = append(open, "listen address "+c.Listen)
	}
	for i := range full.Len() {
		if a := full.Addr(i); a != "" && !onLoopback(a) {
			open = append(open, fmt.Sprintf("%s at %s", full.Names[i], a))
		}
	}
	if len(open) == 0 {
		return nil
	}
	if more := len(open) - 3; more > 0 {
		open = append(open[:3], fmt.Sprintf("%d more", more))
	}
	return fmt.Errorf("%w: %s; make an authority (ring ca init), give each instance an identity of "+
		"it (ring ca issue) and set TLS (--tls DIR), use addresses on 127.0.0.1 only, or set Insecure "+
		"(--insecure) if you trust everybody on that network",
		ErrInsecure, strings.Join(open, ", "))
}

// warnInsecure says loudly that links to other hosts are in the clear, where they are.
func (c Config) warnInsecure(full *roster.Roster) {
	strict := c
	strict.Insecure = false
	if c.Insecure && strict.secure(full) != nil {
		c.Logger.Warn("INSECURE: links to other hosts are not encrypted, and whoever reaches the port can pose "+
			"as any instance (--insecure); give each an identity instead (--tls)", "ring", c.Ring, "node", string(c.Name))
	}
}

// onLoopback says whether a host:port can only mean this host. A name other
// than localhost may mean another host tomorrow, so it does not count.
func onLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host = strings.TrimSuffix(strings.ToLower(host), "."); host == "localhost" ||
		strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// listen opens the port, unless the caller did.
func (c Config) listen(ctx context.Context) (net.Listener, error) {
	if c.Listener != nil {
		return c.Listener, nil
	}
	// A keep-alive would be one timer more for each link; heartbeats do its work.
	lc := net.ListenConfig{KeepAlive: -1}
	l, err := lc.Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("%w: %w; another process listens there, perhaps this instance "+
			"is running already, or the address is not of this host", ErrAddress, err)
	}
	return l, nil
}
