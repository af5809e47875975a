package ringtest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Fault names one way to hurt a fleet; the names are those of `ring sim
// --faults`.
type Fault string

// The faults. Unless said otherwise a fault lasts for Action.For and mends
// itself then; zero means for good.
//
// Clocks differ in speed and in what they show, always. They jump by Suspend: the
// process wakes, and both of its clocks have gone on, or only the one that counts
// sleep. Nothing else makes a clock jump that a core is told: it is a monotonic one.
const (
	Crash     Fault = "crash"     // SIGKILL of A; a new process on the same disk after For
	Blank     Fault = "blank"     // the same, and the disk is lost
	Torn      Fault = "torn"      // the same, the last write is lost: the older value, or nothing
	Power     Fault = "power"     // A's host goes dark without a word, its disk stays
	Third     Fault = "third"     // SIGKILL of Set, a third of the fleet, in one instant
	Restart   Fault = "restart"   // SIGKILL of all, started again after For
	Depart    Fault = "leave"     // A says goodbye; starts again after For
	Pause     Fault = "pause"     // SIGSTOP of A
	Hiccup    Fault = "hiccup"    // the same for less than patience: a long collection
	Suspend   Fault = "suspend"   // A's host sleeps, kernel and all; its clock may stop (B = 1)
	Slow      Fault = "slow"      // A waits for the processor up to Much before each slice
	Starve    Fault = "starve"    // the same, for so long that it may be taken for dead
	Cut       Fault = "cut"       // nothing gets from A to B
	Part      Fault = "part"      // nothing gets between A and B
	Deaf      Fault = "deaf"      // nothing reaches A
	Mute      Fault = "mute"      // nothing leaves A
	Blackhole Fault = "blackhole" // both
	Partition Fault = "partition" // Set cannot talk with the rest
	Reset     Fault = "reset"     // links of A and B break, once
	Loss      Fault = "loss"      // a share Rate of all packets is lost
	Lossy     Fault = "lossy"     // the same for A's packets only
	Delay     Fault = "delay"     // every packet takes up to Much longer
	Flap      Fault = "flap"      // A is stopped for 2 s and runs for 1 s, over and over
	Odd       Fault = "odd"       // A is started again with another roster
)

// Faults lists all there are, in the order of `all`.
func Faults() []Fault {
	return []Fault{
		Crash, Blank, Torn, Power, Third, Restart, Depart, Pause, Hiccup, Suspend,
		Slow, Starve, Cut, Part, Deaf, Mute, Blackhole, Partition, Reset, Loss, Lossy, Delay, Flap, Odd,
	}
}

// profiles are names for sets of faults that belong together.
var profiles = map[string][]Fault{
	"mild":   {Hiccup, Slow, Loss, Lossy, Delay, Reset},
	"kill":   {Crash, Blank, Torn, Third, Restart},
	"silent": {Power, Pause, Suspend, Deaf, Mute, Blackhole},
	"links":  {Cut, Part, Reset},
}

// ParseFaults reads a list such as crash,cut,mild; all stands for all, none or
// nothing for none.
func ParseFaults(list string) ([]Fault, error) {
	var out []Fault
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		switch {
		case name == "" || name == "none":
		case name == "all":
			out = append(out, Faults()...)
		case profiles[name] != nil:
			out = append(out, profiles[name]...)
		case slices.Contains(Faults(), Fault(name)):
			out = append(out, Fault(name))
		default:
			return nil, fmt.Errorf("fault %q is unknown; there are all, none, kill, silent, "+
				"links, mild, %v", name, Faults())
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// Action is one fault at one time. It mends itself, so that a schedule may
// lose any of its actions and still makes sense.
type Action struct {
	At    time.Duration
	Fault Fault
	A, B  int
	Set   []int
	For   time.Duration
	Much  time.Duration
	Rate  float64

	stopped bool // while it runs: a flapping process is stopped now
}

// shapes says which fields of an action count, for reading and writing it:
// a and b instances, s a set, m Much, r Rate.
var shapes = map[Fault]string{
	Crash: "a", Blank: "a", Torn: "ab", Power: "a", Third: "s", Restart: "", Depart: "a",
	Pause: "a", Hiccup: "a", Suspend: "ab", Slow: "am", Starve: "am", Cut: "ab", Part: "ab", Deaf: "a",
	Mute: "a", Blackhole: "a", Partition: "s", Reset: "ab", Loss: "r", Lossy: "ar",
	Delay: "m", Flap: "a", Odd: "a",
}

// String writes the action as ParseAction reads it.
func (a Action) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v %s", a.At, a.Fault)
	for _, c := range shapes[a.Fault] {
		switch c {
		case 'a':
			fmt.Fprintf(&b, " %d", a.A)
		case 'b':
			fmt.Fprintf(&b, " %d", a.B)
		case 's':
			b.WriteByte(' ')
			for n, i := range a.Set {
				if n > 0 {
					b.WriteByte(',')
				}
				b.WriteString(strconv.Itoa(i))
			}
		case 'm':
			fmt.Fprintf(&b, " %v", a.Much)
		case 'r':
			fmt.Fprintf(&b, " %g", a.Rate)
		}
	}
	if a.For > 0 {
		fmt.Fprintf(&b, " for %v", a.For)
	}
	return b.String()
}

// ParseAction reads one line of a schedule, such as "3s crash 2 for 5s".
func ParseAction(line string) (Action, error) {
	var a Action
	words := strings.Fields(line)
	if len(words) < 2 {
		return a, fmt.Errorf("action %q: want a time, a fault and what it needs", line)
	}
	var err error
	if a.At, err = time.ParseDuration(words[0]); err != nil {
		return a, fmt.Errorf("action %q: %w", line, err)
	}
	a.Fault = Fault(words[1])
	shape, ok := shapes[a.Fault]
	words = words[2:]
	if !ok || len(words) < len(shape) {
		return a, fmt.Errorf("action %q: unknown, or words are missing", line)
	}
	for n, c := range shape {
		if err := a.set(c, words[n]); err != nil {
			return a, fmt.Errorf("action %q: %w", line, err)
		}
	}
	words = words[len(shape):]
	if len(words) == 2 && words[0] == "for" {
		a.For, err = time.ParseDuration(words[1])
		words = nil
	}
	if err == nil && len(words) > 0 {
		err = fmt.Errorf("%q is too much", words)
	}
	if err != nil {
		return a, fmt.Errorf("action %q: %w", line, err)
	}
	return a, nil
}

func (a *Action) set(field rune, word string) (err error) {
	switch field {
	case 'a':
		a.A, err = strconv.Atoi(word)
	case 'b':
		a.B, err = strconv.Atoi(word)
	case 's':
		for s := range strings.SplitSeq(word, ",") {
			i, err := strconv.Atoi(s)
			if err != nil {
				return err
			}
			a.Set = append(a.Set, i)
		}
	case 'm':
		a.Much, err = time.ParseDuration(word)
	case 'r':
		a.Rate, err = strconv.ParseFloat(word, 64)
	}
	return err
}

// valid reports what would be out of bounds in a fleet of n.
func (a Action) valid(n int) error {
	for _, i := range append([]int{a.A, a.B}, a.Set...) {
		if i < 0 || i >= n {
			return fmt.Errorf("action %q: there is no instance %d of %d", a, i, n)
		}
	}
	return nil
}

// touches lists whom the action hurts directly; nil is everybody.
func (a Action) touches() []int {
	switch a.Fault {
	case Restart, Loss, Delay:
		return nil
	case Third, Partition:
		return a.Set
	case Cut, Part, Reset:
		return []int{a.A, a.B}
	}
	return []int{a.A}
}
