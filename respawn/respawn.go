package respawn

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"ringofservers.dev/guard"
	"ringofservers.dev/ring"
)

// Topic is what runners broadcast under.
const Topic = "ring/respawn"

// ErrConfig is returned by Run where there is no command.
var ErrConfig = errors.New("respawn: there is no command")

// Config is what to run, and when.
type Config struct {
	// Command and its arguments. In its environment, which else is Env, are RING_DEAD, the
	// name of the instance, RING_DEAD_INDEX, RING_DEAD_ADDRESS, RING_DEAD_INCARNATION, and
	// RING_INSTANCE, who runs it. Exit code 0 means that the supervisor it asks has taken it
	// on.
	Command []string
	Env     []string // as of exec.Cmd; nil: this process's own
	Rules   Rules
	Logger  *slog.Logger // of what the command prints; nil: silent
	// Changes replace Command, Env and Rules while Run goes on; a command that runs keeps
	// what it began with, and nothing that is known of the dead is forgotten. Where there
	// are Changes there may be no Command: then nobody is asked for until there is one. nil:
	// there are none.
	Changes <-chan Config
}

// tellTime bounds a broadcast; without links there is nobody to tell.
const tellTime = 2 * time.Second

// runner is the driver of a planner.
type runner struct {
	ring    *ring.Ring
	cfg     Config
	plan    *planner
	view    ring.View
	ended   chan ending
	pending sync.WaitGroup
}

// ending is how a command ended.
type ending struct {
	note note
	err  error
}

// told is a note, and who has told it.
type told struct {
	by   ring.Name
	note note
}

// Run respawns whom r misses until ctx or r ends; then it kills a command that runs. It
// is to be called once for each Ring, best before that has joined: who has just started
// is then given what was told of attempts before.
func Run(ctx context.Context, r *ring.Ring, cfg Config) error {
	if !cfg.asks() && cfg.Changes == nil {
		return ErrConfig
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	w := &runner{ring: r, cfg: cfg, view: r.View(), ended: make(chan ending)}
	w.plan = newPlanner(cfg.Rules, w.index(w.view.Self))
	w.change(cfg)
	views, notes := make(chan struct{}, 1), make(chan told)
	defer r.OnView(func(ring.View) {
		select {
		case views <- struct{}{}:
		default:
		}
	})()
	defer r.Subscribe(Topic, func(m ring.Message) {
		var n note
		// What this process has told itself says nothing new, but an earlier one of its
		// name knew what this one does not.
		if json.Unmarshal(m.Payload, &n) != nil || rank(n.Kind) < 0 {
			return
		}
		select {
		case notes <- told{m.From, n}:
		case <-ctx.Done():
		}
	})()
	w.loop(ctx, views, notes)
	cancel()
	w.pending.Wait()
	return nil
}

// asks is whether there is a command.
func (c Config) asks() bool { return len(c.Command) > 0 && c.Command[0] != "" }

// change takes what of a configuration can be changed.
func (w *runner) change(cfg Config) {
	if cfg.Env == nil {
		cfg.Env = os.Environ()
	}
	w.plan.change(time.Now(), cfg.Rules, !cfg.asks())
	w.cfg.Command, w.cfg.Env, w.cfg.Rules = cfg.Command, cfg.Env, w.plan.rules
}

// loop is the only goroutine that touches the planner.
func (w *runner) loop(ctx context.Context, views <-chan struct{}, notes <-chan told) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		var acts []act
		select {
		case <-ctx.Done():
			return
		case <-w.ring.Done():
			return
		case <-views:
			w.view = w.ring.View()
			acts = w.plan.see(time.Now(), w.view.Joined, rowsOf(w.view))
		case n := <-notes:
			w.plan.hear(time.Now(), w.index(n.by), n.note)
		case e := <-w.ended:
			if e.err != nil {
				w.say("failed", e.note, ": "+e.err.Error())
			} else {
				w.say("asked", e.note, "")
			}
			acts = w.plan.ended(time.Now(), e.note, e.err == nil)
		case cfg := <-w.cfg.Changes:
			w.change(cfg)
		case <-timer.C:
		}
		for _, a := range append(acts, w.plan.step(time.Now())...) {
			w.do(ctx, a)
		}
		if at := w.plan.deadline(); at.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(at))
		}
	}
}

// rowsOf is a view as a planner sees it.
func rowsOf(v ring.View) []row {
	var rows []row
	for _, i := range v.Instances {
		for len(rows) < i.Index { // whoever is retired has no row, and does not live
			rows = append(rows, row{})
		}
		k := len(rows)
		rows = append(rows, row{
			alive:       i.State == ring.Alive || i.State == ring.Suspect,
			gone:        (i.State == ring.Dead || i.State == ring.Unreachable) && i.Incarnation > 0,
			unsure:      i.State == ring.Unreachable,
			incarnation: i.Incarnation,
		})
		if i.DampedUntil != nil {
			rows[k].damped = *i.DampedUntil
		}
	}
	return rows
}

func (w *runner) index(name ring.Name) int {
	for _, i := range w.view.Instances {
		if i.Name == name {
			return i.Index
		}
	}
	return -1
}

// do carries out one act.
func (w *runner) do(ctx context.Context, a act) {
	switch a.kind {
	case actRun:
		w.say("started", a.note, "")
		dead, _ := w.view.Row(a.note.Subject)
		cfg := w.cfg // which may change meanwhile
		w.pending.Go(func() {
			w.tell(ctx, a.note) // before it runs: see the package's comment
			e := ending{a.note, w.command(ctx, cfg, dead, a.note)}
			select {
			case w.ended <- e:
			case <-ctx.Done():
			}
		})
	case actTell:
		if a.note.Kind == noteGivenUp {
			w.say("given_up", a.note, "")
		}
		w.pending.Go(func() { w.tell(ctx, a.note) })
	case actReturned:
		w.say("respawned", a.note, "")
	}
}

// tell broadcasts a note. That it cannot be is no matter: then nobody could take over.
func (w *runner) tell(ctx context.Context, n note) {
	text, err := json.Marshal(n)
	if err != nil {
		return // a note always can be
	}
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	if _, err := w.ring.Broadcast(ctx, Topic, text); err != nil {
		w.cfg.Logger.Warn("respawn not told to the others", "err", err)
	}
}

// say adds to the story of this instance.
func (w *runner) say(what string, n note, more string) {
	row, _ := w.view.Row(n.Subject)
	who := row.Name
	kind, text := "respawn_"+what, ""
	switch what {
	case "started":
		text = fmt.Sprintf("asking for %s to be started again: incarnation %d is gone, attempt %d",
			who, n.Incarnation, n.Attempt)
	case "failed":
		text = fmt.Sprintf("attempt %d to have %s started again failed", n.Attempt, who)
	case "asked":
		text = fmt.Sprintf("%s was asked for, attempt %d; it should be back within %v",
			who, n.Attempt, w.cfg.Rules.Return)
	case "given_up":
		text = fmt.Sprintf("after %d attempts %s is asked for only every %v", n.Attempt, who, w.cfg.Rules.Slow)
	case "respawned":
		kind = what
		text = fmt.Sprintf("%s, which was asked for from here, is back as incarnation %d", who, n.Incarnation)
	}
	_ = w.ring.Tell(kind, who, text+more) // which cannot be refused
}

// outputMax is how much is kept of what a command prints, in bytes; the last of it.
const outputMax = 4 << 10

// command runs the operator's command for one that is gone. It returns nil for exit
// code 0 in time.
func (w *runner) command(ctx context.Context, cfg Config, dead ring.Instance, n note) error {
	runtime.LockOSThread() // on Linux what it starts dies with it, if this process does
	defer runtime.UnlockOSThread()
	ctx, cancel := context.WithTimeoutCause(ctx, cfg.Rules.Timeout,
		fmt.Errorf("the command took longer than %v", cfg.Rules.Timeout))
	defer cancel()
	cmd := exec.CommandContext(ctx, cfg.Command[0], cfg.Command[1:]...)
	cmd.Env = append(slices.Clone(cfg.Env),
		"RING_DEAD="+string(dead.Name), fmt.Sprintf("RING_DEAD_INDEX=%d", dead.Index),
		"RING_DEAD_ADDRESS="+dead.Address, fmt.Sprintf("RING_DEAD_INCARNATION=%d", n.Incarnation),
		"RING_INSTANCE="+string(w.ring.View().Self))
	out := new(tail)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = time.Second // a child of it may hold its outputs
	guard.InGroup(cmd)
	err := cmd.Run()
	if cmd.Process != nil {
		guard.KillGroup(cmd.Process.Pid)
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it ended well; its child does not matter any more
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if text := strings.TrimSpace(out.String()); text != "" {
		cfg.Logger.Info("respawn command printed", "instance", dead.Name, "output", text)
	}
	return err
}

// tail keeps the end of what is written to it.
type tail struct{ kept []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p[max(0, len(p)-outputMax):]...)
	t.kept = t.kept[max(0, len(t.kept)-outputMax):]
	return len(p), nil
}

func (t *tail) String() string { return string(t.kept) }
