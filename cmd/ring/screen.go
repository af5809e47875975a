package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"syscall"
	"time"
)

// screenLines is how many lines wait for the terminal. A line that finds the
// queue full is not shown; how many were not, is.
const screenLines = 4096

// screenBeat is the least time between two writes to the terminal, however many
// lines come.
const screenBeat = 10 * time.Millisecond

// screen is the one writer to the terminal of `ring up`. It shows lines in the order
// of what they tell, not in that of their coming. Nothing that is shown on it ever
// waits for it. Its methods are safe for concurrent use.
type screen struct {
	paint   paint
	width   int // of the longest name
	started time.Time

	lines   chan screenLine
	written chan struct{} // closed when the last line is out
	unread  chan struct{} // closed when nobody can read what is written

	mu     sync.Mutex
	lost   int  // guarded by mu: lines since the last that found room
	hushed bool // guarded by mu: children are not shown any more
	closed bool // guarded by mu
}

func newScreen(out io.Writer, children []child) *screen {
	s := &screen{
		paint: paintFor(out), width: len("ring:"), started: time.Now(),
		lines: make(chan screenLine, screenLines), written: make(chan struct{}),
		unread: make(chan struct{}),
	}
	for _, c := range children {
		s.width = max(s.width, len(c.name))
	}
	go s.write(out)
	return s
}

// write shows lines in order, and together where they come together.
func (s *screen) write(out io.Writer) {
	defer close(s.written)
	p := printer{screen: s, out: bufio.NewWriterSize(out, 32<<10)}
	var held order
	timer := time.NewTimer(orderFor)
	defer timer.Stop()
	for {
		ripe := 0
		select {
		case l, ok := <-s.lines:
			if !ok {
				p.print(held)
				return
			}
			if held.add(l); len(held) == 1 {
				timer.Reset(orderFor)
			}
			if len(held) < orderMax {
				continue
			}
			ripe = orderMax / 2
		case now := <-timer.C:
			ripe = held.ripe(now)
		}
		p.print(held[:ripe])
		if held = slices.Delete(held, 0, ripe); len(held) > 0 {
			timer.Reset(max(held.wait(time.Now()), screenBeat))
		}
	}
}

// printer is what the writer of a screen has in hand.
type printer struct {
	screen *screen
	out    *bufio.Writer
	ticked bool // a tick was shown
	gone   bool // nobody can read what is written
}

func (p *printer) print(lines []screenLine) {
	for _, l := range lines {
		if l.kind == ofTick && !p.ticked {
			p.ticked = true
			after := time.Unix(0, l.at).Sub(p.screen.started)
			p.write(p.screen.own(fmt.Sprintf("first tick after %.2f s", after.Seconds())))
		}
		p.write(l.text)
	}
	p.look(p.out.Flush())
}

func (p *printer) write(text string) {
	_, err := p.out.WriteString(text + "\n")
	p.look(err)
}

// look finds out whether anybody reads. A terminal that is gone ends us by SIGHUP; a
// pipe that is closed is known by writing to it only. Writing goes on nevertheless:
// nobody who shows a line may wait.
func (p *printer) look(err error) {
	if errors.Is(err, syscall.EPIPE) && !p.gone {
		p.gone = true
		close(p.screen.unread)
	}
}

// close waits until everything accepted is written.
func (s *screen) close() {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.lines)
	}
	s.mu.Unlock()
	<-s.written
}

// hush leaves out what children say from now on, but their complaints: the
// goodbyes of all at once are no story.
func (s *screen) hush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hushed = true
}

// own is a line of the starter itself, which is about the whole.
func (s *screen) own(text string) string { return fmt.Sprintf("%-*s %s", s.width, "ring:", text) }

// say shows such a line.
func (s *screen) say(text string) { s.put(screenLine{text: s.own(text)}, false) }

func (s *screen) warn(text string) { s.state(text, false) }

// state shows what an instance said of the ring.
func (s *screen) state(text string, ok bool) {
	color := bold
	if !ok {
		color = red
	}
	s.put(screenLine{text: s.paint.in(color, s.own(text))}, false)
}

// line shows what a child told: name, port, and the tick alone or the words.
func (s *screen) line(c child, told string) {
	l := readTold(told)
	switch l.kind {
	case ofStory:
		l.text = s.words(c, l.text)
	case ofLap:
		l.text = s.paint.in(purple, s.pass(c, l.text))
	case ofTick:
		l.text = s.paint.in(dim, s.pass(c, l.text))
	}
	s.put(l, true)
}

// complain shows what a child said to whoever looks, such as why it cannot start.
func (s *screen) complain(c child, text string) {
	s.put(screenLine{text: s.words(c, s.paint.in(yellow, text))}, false)
}

func (s *screen) words(c child, text string) string {
	name := s.paint.in(bold, fmt.Sprintf("%-*s", s.width, c.name))
	return fmt.Sprintf("%s %5d %s", name, c.port, text)
}

func (s *screen) pass(c child, tick string) string {
	return fmt.Sprintf("%-*s %5d %s", s.width, c.name, c.port, tick)
}

// put queues a line, or counts it as lost. What has no time of its own goes in by when
// it comes.
func (s *screen) put(l screenLine, ofChild bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || (s.hushed && ofChild) {
		return
	}
	l.came = time.Now()
	if now := l.came.UnixNano(); l.at == 0 || l.at > now {
		l.at = now
	}
	if s.lost > 0 {
		note := s.own(fmt.Sprintf("%d lines are not shown: this terminal is slower than the ring",
			s.lost))
		select {
		case s.lines <- screenLine{at: l.at, came: l.came, text: note}:
			s.lost = 0
		default:
		}
	}
	select {
	case s.lines <- l:
	default:
		s.lost++
	}
}
