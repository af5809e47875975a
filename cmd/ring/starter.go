package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"ringofservers.dev/ring/trust"
)

const (
	// restartAfter is how long a child that ended stays away: long enough that
	// one sees the ring close around it first. It doubles while the child
	// keeps ending early, up to restartMax.
	restartAfter = 150 * time.Millisecond
	restartMax   = 5 * time.Second
	// steady is how long a child must live for its next restart to be quick.
	steady = 5 * time.Second
	// farewell is how long children may take to leave before they are killed.
	farewell = 5 * time.Second
)

// starter runs the children of `ring up`. It knows when one dies, since it is
// their parent, and says nothing of it: the story is theirs to tell.
type starter struct {
	binary     string
	screen     *screen
	spawn      chan func() // carried out by the one thread that children depend on
	started    time.Time
	identities map[string]trust.Material // new ones, by name
	asks       *asks                     // nil: instances are started again without being asked for

	mu      sync.Mutex
	running map[*exec.Cmd]struct{} // guarded by mu
	failed  error                  // guarded by mu: why the whole cannot run
}

// runUp returns nil when the ring was ended by a signal, or because nobody reads
// what it prints any more.
func runUp(ctx context.Context, out io.Writer, o upOptions) (err error) {
	if err := checkPorts(o.firstPort, o.nodes); err != nil {
		return err
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	// Asked for, it does not end this process, as it would where out is standard
	// output: there is something to tidy up. The screen sees the error.
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	defer signal.Stop(pipe)
	if o.data == "" {
		// Most of a ring may be killed at once, and what it agreed on must not be
		// lost with it. Nobody relies on what power takes away, so it is no matter
		// whether this is a disk.
		removeLeftBehind(os.TempDir())
		dir, remove, err := makeTempData(os.TempDir())
		if err != nil {
			return fmt.Errorf("make a directory for the instances' data: %w", err)
		}
		o.data = dir
		defer func() {
			if rerr := remove(); rerr != nil {
				err = errors.Join(err, fmt.Errorf("remove the instances' data: %w", rerr))
			}
		}()
	}
	s, children, err := newStarter(out, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.asks.close()) }()
	s.greet(o)
	err = s.run(ctx, signals, children, o)
	s.screen.close()
	return err
}

func newStarter(out io.Writer, o upOptions) (s *starter, children []child, err error) {
	if o.binary, err = os.Executable(); err != nil {
		return nil, nil, fmt.Errorf("find this program's own file: %w", err)
	}
	if children, err = o.children(); err != nil {
		return nil, nil, err
	}
	s = &starter{
		binary: o.binary, spawn: make(chan func()), started: time.Now(),
		running: make(map[*exec.Cmd]struct{}),
	}
	if !o.insecure {
		if s.identities, err = upIdentities(filepath.Join(o.data, "authority"), children); err != nil {
			return nil, nil, fmt.Errorf("make identities for the ring: %w", err)
		}
	}
	if o.respawn {
		if s.asks, err = listenForAsks(children); err != nil {
			return nil, nil, err
		}
	}
	s.screen = newScreen(out, children)
	return s, children, nil
}

func (s *starter) greet(o upOptions) {
	what := fmt.Sprintf("%d processes on 127.0.0.1, ports %d to %d", o.nodes, o.firstPort,
		o.firstPort+o.nodes-1)
	if o.nodes == 1 {
		what = fmt.Sprintf("1 process on 127.0.0.1, port %d", o.firstPort)
	}
	s.screen.say(fmt.Sprintf("%s · look at http://127.0.0.1:%d/ · Ctrl-C ends all", what, o.firstPort))
	if o.fast() && !o.quiet {
		s.screen.say(fmt.Sprintf("laps are fast: each stop prints about %d of its ticks a second, not all",
			int(time.Second/fastPace)))
	}
}

// run starts all, waits for a signal, a failure or the end of whoever reads, and
// ends all.
func (s *starter) run(ctx context.Context, signals <-chan os.Signal, children []child,
	o upOptions,
) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var group, reporter sync.WaitGroup
	ended := make(chan struct{}) // when no child is left
	go s.nurse(ended)
	for i, c := range children {
		group.Go(func() {
			select {
			case <-time.After(time.Duration(max(0, i-atOnce)) * spacing):
				s.supervise(ctx, stop, c)
			case <-ctx.Done():
			}
		})
	}
	if !o.quiet {
		reporter.Go(func() { s.report(ctx, children) })
	}

	go func() { group.Wait(); close(ended) }()

	select {
	case <-signals:
		s.screen.hush()
		s.screen.say("every instance says goodbye")
	case <-s.screen.unread:
	case <-ctx.Done():
	case <-ended:
	}
	stop()
	reporter.Wait()
	s.signalAll(terminate)
	awaitEnd(ended, signals)
	s.signalAll(func(p *os.Process) { _ = p.Kill() })
	<-ended
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.screen.say(fmt.Sprintf("all ended after %s", time.Since(s.started).Round(100*time.Millisecond)))
	}
	return s.failed
}

// awaitEnd waits until no child is left, but not beyond farewell, nor beyond a
// second signal.
func awaitEnd(ended <-chan struct{}, signals <-chan os.Signal) {
	late, began := time.After(farewell), time.Now()
	for {
		select {
		case <-ended:
			return
		case <-late:
			return
		case s := <-signals:
			if isSecond(s, time.Since(began)) {
				return
			}
		}
	}
}

// nurse starts all children from one thread that outlives them: on Linux the
// kernel kills them when that thread ends, however it ends.
func (s *starter) nurse(quit <-chan struct{}) {
	runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
	for {
		select {
		case start := <-s.spawn:
			start()
		case <-quit:
			return
		}
	}
}

// A machine has room for so many processes to start at once. The rest follow at
// the pace at which a core loads a program; hundreds together would be so slow
// that they take each other for dead.
const (
	atOnce  = 16
	spacing = 15 * time.Millisecond
)

// supervise keeps one child running until ctx ends, or until it leaves: one
// that said goodbye was told to, and stays away.
func (s *starter) supervise(ctx context.Context, stop context.CancelFunc, c child) {
	pause := restartAfter
	if err := s.identify(c); err != nil {
		s.fail(fmt.Errorf("%s has no identity: %w", c.name, err))
		stop()
		return
	}
	for first := true; ; first = false {
		began := time.Now()
		told, err := s.once(ctx, c)
		if ctx.Err() != nil || err == nil {
			return
		}
		if first && !told && gaveUp(err) {
			s.fail(fmt.Errorf("%s cannot start; its own line above says why", c.name))
			stop()
			return
		}
		if time.Since(began) >= steady {
			pause = restartAfter
		}
		if !s.awaitTurn(ctx, c, pause) {
			return
		}
		pause = min(2*pause, restartMax)
	}
}

// identityLife is that of an identity of `ring up`; one that would end sooner than
// identityLeft is made anew at a start.
const (
	identityLife = 365 * 24 * time.Hour
	identityLeft = identityLife / 2
)

// upIdentities makes identities for those that lack a good one, by an authority in dir, which
// it makes if there is none. They are yet to be written.
func upIdentities(dir string, children []child) (map[string]trust.Material, error) {
	a, err := trust.OpenAuthority(dir)
	if errors.Is(err, trust.ErrNotFound) {
		a, err = trust.Init(dir, upRing, 0)
	}
	if err != nil {
		return nil, err
	}
	var ids []trust.ID
	for _, c := range children {
		id := trust.ID{Role: trust.Instance, Ring: upRing, Name: c.name}
		have, err := trust.Open(c.tls)
		if err != nil || have.ID() != id || time.Until(have.Leaf().NotAfter) < identityLeft {
			ids = append(ids, id)
		}
	}
	made, err := a.Identities(ids, identityLife)
	if err != nil {
		return nil, err
	}
	all := make(map[string]trust.Material, len(ids))
	for i, id := range ids {
		all[id.Name] = made[i]
	}
	return all, nil
}

// identify writes what c is to prove who it is with, if that is new.
func (s *starter) identify(c child) error {
	m, ok := s.identities[c.name]
	if !ok {
		return nil
	}
	if err := os.MkdirAll(c.tls, 0o700); err != nil {
		return err
	}
	return trust.WriteDir(c.tls, m)
}

// gaveUp says whether a child ended itself. If it had nothing to tell before, it would do
// the same again: its data directory is in use or torn, its port is taken. No exit code
// says so: 2, which is that of wrong settings, is also that of a panic.
func gaveUp(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit) && exit.Exited()
}

// fail keeps the first reason why the whole cannot run; the others may be its
// consequences.
func (s *starter) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = err
	}
}

// once runs one child to its end. told is whether the child had anything to tell.
func (s *starter) once(ctx context.Context, c child) (told bool, err error) {
	cmd := exec.Command(s.binary, c.args...)
	cmd.Args[0] = "ring" // what ps shows, wherever `go run` has put the binary
	cmd.Env = childEnv(os.Environ())
	if s.asks != nil {
		cmd.Env = append(cmd.Env, starterEnv+"="+s.asks.url)
	}
	cmd.SysProcAttr = childAttributes()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return false, fmt.Errorf("start %s: %w", c.name, err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return false, fmt.Errorf("start %s: %w", c.name, err)
	}
	if err := s.begin(ctx, cmd); err != nil {
		if ctx.Err() == nil {
			s.screen.warn(fmt.Sprintf("%s does not start: %v", c.name, err))
		}
		return false, err
	}
	var readers sync.WaitGroup
	readers.Go(func() {
		relay(stdout, func(line string) {
			told = true
			s.screen.line(c, line)
		})
	})
	readers.Go(func() { relay(stderr, func(line string) { s.screen.complain(c, line) }) })
	readers.Wait()
	err = cmd.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.running, cmd)
	return told, err
}

// begin starts cmd on the nurse's thread, unless all is ending.
func (s *starter) begin(ctx context.Context, cmd *exec.Cmd) error {
	done := make(chan error, 1)
	start := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if ctx.Err() != nil {
			done <- ctx.Err()
			return
		}
		err := cmd.Start()
		if err == nil {
			s.running[cmd] = struct{}{}
		}
		done <- err
	}
	select {
	case s.spawn <- start:
		return <-done
	case <-ctx.Done():
		return ctx.Err()
	}
}

// relay shows the lines of a child until it closes the pipe. It always reads
// on, so that no child ever waits for the terminal.
func relay(pipe io.Reader, show func(line string)) {
	lines := bufio.NewReaderSize(pipe, 16<<10)
	for {
		line, isPrefix, err := lines.ReadLine()
		if err != nil {
			return
		}
		text := string(line)
		for isPrefix && err == nil { // the rest of an overlong line is dropped
			_, isPrefix, err = lines.ReadLine()
		}
		show(text)
	}
}

func (s *starter) signalAll(send func(*os.Process)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for cmd := range s.running {
		send(cmd.Process)
	}
}
