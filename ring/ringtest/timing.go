package ringtest

import (
	"fmt"
	"time"

	"ringofservers.dev/ring"
	"ringofservers.dev/ring/internal/core"
)

// timing is a preset of the protocol and the network it is meant for.
type timing struct {
	core.Timing
	near, far int64 // latency of one packet, shortest and longest, nanoseconds
}

func timingOf(name string) (timing, error) {
	switch name {
	case "", "lan":
		return timing{core.Timing(ring.LAN()), 80 * us, 300 * us}, nil
	case "wan":
		return timing{core.Timing(ring.WAN()), 1 * ms, 60 * ms}, nil
	case "quiet":
		return timing{core.Timing(ring.Quiet()), 80 * us, 300 * us}, nil
	}
	return timing{}, fmt.Errorf("timing %q is unknown: lan, wan or quiet", name)
}

// detection is how long a silent instance may stay unknown: a beat interval
// until it is asked, the patience for its answer and that for the re-check,
// stretched to twice by what the link has shown of itself, and by jitter.
func (t timing) detection() int64 {
	return int64(t.Beat+t.Patience+t.Answer+4*t.Settle) + 2*t.far + 4*t.far +
		int64(t.Patience)
}

// silence is how long an instance may stay unknown that this fault silences.
// What one direction loses shows only in what the next heartbeat fails to echo.
func (t timing) silence(f Fault) int64 {
	if f == Deaf || f == Mute {
		return t.detection() + int64(t.Beat+t.Beat/16)
	}
	return t.detection()
}

// quiet is how far from any other fault one must be to count as alone.
func (t timing) quiet() int64 { return max(9*second, 5*t.detection()) }

// forgive is how long after a trouble has ended it still excuses what comes of
// it: accusations made in it, returns that wait for an answer.
func (t timing) forgive() int64 { return t.quiet() + second }

// back is within what an instance has returned: a second, and at presets whose
// answers take their time, as long as two of them, a dial and a start take.
func (t timing) back() time.Duration {
	return max(time.Second, t.Patience+2*t.Answer+t.Redial+t.Gather-500*time.Millisecond)
}

// proven is how long a crashed process may stay unknown: the broken links, one
// refused dial, the flood and the quiet before the cut.
func (t timing) proven(n, victims int) int64 {
	if n > 9 && victims > 2 || n > 12 && victims > 1 {
		// Watchers die too: who is left dials on until one answers.
		return int64(t.Beat) + int64(n)*100*us // pauses and windows grow with the fleet
	}
	// The quiet is longer where many may share a machine: a twentieth of Settle each.
	return int64(5*t.Settle) + int64(t.Settle)/20*int64(min(n, 200)) + 20*t.far + 50*ms
}
