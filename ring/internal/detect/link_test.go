package detect

import (
	"testing"
	"time"

	"ringofservers.dev/ring/internal/wire"
)

const (
	beat     = 700 * time.Millisecond
	patience = 300 * time.Millisecond
	hop      = 5 * time.Millisecond
)

// exchange lets the dialer beat and the acceptor answer, each hop later.
func exchange(now time.Time, d, a *Pulse) time.Time {
	var b wire.Beat
	d.Fill(now, &b)
	now = now.Add(hop)
	a.Hear(now, &b)
	a.Fill(now, &b)
	now = now.Add(hop)
	d.Hear(now, &b)
	return now
}

func TestPulseShowsBothWays(t *testing.T) {
	d, a := &Pulse{Dialer: true}, &Pulse{}
	now := time.Unix(100, 0)
	for range 5 {
		now = exchange(now, d, a).Add(beat)
	}
	if got := d.RTT(); got < hop || got > 3*hop {
		t.Errorf("dialer's round trip = %v, want about %v", got, 2*hop)
	}
	if got := a.RTT(); got < hop || got > 3*hop {
		t.Errorf("acceptor's round trip = %v, want about %v", got, 2*hop)
	}
	if at := d.SilentAt(beat, patience); !at.IsZero() {
		t.Errorf("dialer owes itself an echo by %v, want nothing owed", at)
	}
	if at := a.SilentAt(beat, patience); at.Before(now) {
		t.Errorf("acceptor doubts at %v, before the next beat at %v", at, now)
	}
}

func TestPulseDoubtsTheDeaf(t *testing.T) {
	d, a := &Pulse{Dialer: true}, &Pulse{}
	now := exchange(time.Unix(100, 0), d, a).Add(beat)
	start := now
	for range 4 { // a hears nothing more, but its own beats still arrive
		var b wire.Beat
		d.Fill(now, &b)
		a.Fill(now, &b)
		d.Hear(now.Add(hop), &b)
		now = now.Add(beat)
	}
	at := d.SilentAt(beat, patience)
	if at.Before(start.Add(patience)) || at.After(start.Add(2*patience)) {
		t.Errorf("doubts at %v after the first unanswered beat, want within patience",
			at.Sub(start))
	}
}

func TestPulseForgivesOwnAbsence(t *testing.T) {
	d, a := &Pulse{Dialer: true}, &Pulse{}
	now := exchange(time.Unix(100, 0), d, a).Add(beat)
	var b wire.Beat
	d.Fill(now, &b)
	before := d.SilentAt(beat, patience)
	d.Shift(2 * time.Second)
	if got := d.SilentAt(beat, patience).Sub(before); got != 2*time.Second {
		t.Errorf("doubt moved by %v, want 2s", got)
	}
}

func TestPulseTellsARoundTripOnce(t *testing.T) {
	d := &Pulse{Dialer: true}
	start := time.Unix(100, 0)
	var b wire.Beat
	for i := range 3 {
		d.Fill(start.Add(time.Duration(i)*time.Second), &b)
	}
	now := start.Add(2*time.Second + time.Millisecond)
	for _, tt := range []struct {
		name string
		beat wire.Beat
		want time.Duration
	}{
		{"no echo", wire.Beat{Seq: 1}, 0},
		{"of the third", wire.Beat{Seq: 2, Echo: 3, EchoAgeUS: 400}, 600 * time.Microsecond},
		{"the same once more", wire.Beat{Seq: 3, Echo: 3}, 0},
		{"of what was never sent", wire.Beat{Seq: 4, Echo: 9}, 0},
		{"of the second, late", wire.Beat{Seq: 5, Echo: 2}, time.Second + time.Millisecond},
		{
			"older there than it is",
			wire.Beat{Seq: 6, Echo: 1, EchoAgeUS: 1 << 31},
			time.Microsecond,
		},
	} {
		if got := d.Hear(now, &tt.beat); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
