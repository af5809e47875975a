package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"ringofservers.dev/ring"
)

// supervisor tells systemd how this instance does, see sd_notify(3). Outside
// of systemd all of it does nothing.
type supervisor struct {
	logger *slog.Logger
	on     bool
}

func newSupervisor(logger *slog.Logger) supervisor {
	return supervisor{logger: logger, on: os.Getenv("NOTIFY_SOCKET") != ""}
}

func (s supervisor) say(state string) {
	if !s.on {
		return
	}
	if _, err := daemon.SdNotify(false, state); err != nil {
		s.logger.Warn("systemd not told", "err", err)
	}
}

// attend reports until ctx ends: READY once the instance is in the ring and no
// earlier, STATUS at each change, WATCHDOG while the node's lock can be taken.
func (s supervisor) attend(ctx context.Context, r *ring.Ring) {
	if !s.on {
		return
	}
	ready := sync.OnceFunc(func() { s.say(daemon.SdNotifyReady) })
	stop := r.OnView(func(v ring.View) {
		if v.Joined {
			ready()
		}
		s.say("STATUS=" + summary(v))
	})
	defer stop()
	beat := time.NewTicker(time.Hour)
	defer beat.Stop()
	if patience, err := daemon.SdWatchdogEnabled(false); err == nil && patience > 0 {
		beat.Reset(patience / 3) // systemd advises half; a third forgives one late beat
	}
	for {
		select {
		case <-beat.C:
			_ = r.View() // blocks for ever if the node is wedged, and so do the beats
			s.say(daemon.SdNotifyWatchdog)
		case <-ctx.Done():
			return
		}
	}
}

// summary is a view in half a line.
func summary(v ring.View) string {
	n := 0
	for _, i := range v.Instances {
		if i.State == ring.Alive || i.State == ring.Suspect {
			n++
		}
	}
	switch {
	case !v.Joined:
		return "waiting to be let into the ring"
	case v.CutOff:
		return fmt.Sprintf("cut off; sees %d of %d", n, len(v.Instances))
	}
	return fmt.Sprintf("%d of %d alive, next %s", n, len(v.Instances), v.Next)
}
