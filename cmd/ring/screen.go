package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
)

// What a child's line begins with that tells a tick, or a lap that is none. See
// tellTick; no line of the story begins so.
const (
	tickWord = "tick: "
	lapWord  = "lap: "
)

// screenLines is how many lines wait for the terminal. A line that finds the
// queue full is not shown; how many were not, is.
const screenLines = 4096

// screen is the one writer to the terminal of `ring up`. Nothing that is
// shown on it ever waits for it. Its methods are safe for concurrent use.
type screen struct {
	paint paint
	width int // of the longest name

	lines   chan string
	written chan struct{} // closed when the last line is out
	unread  chan struct{} // closed when nobody can read what is written

	mu     sync.Mutex
	lost   int  // guarded by mu: lines since the last that found room
	hushed bool // guarded by mu: children are not shown any more
	closed bool // guarded by mu
}

func newScreen(out io.Writer, children []child) *screen {
	s := &screen{
		paint: paintFor(out), width: len("ring:"),
		lines: make(chan string, screenLines), written: make(chan struct{}),
		unread: make(chan struct{}),
	}
	for _, c := range children {
		s.width = max(s.width, len(c.name))
	}
	go s.write(out)
	return s
}

// write puts lines out, together where they come together. A terminal that is
// gone ends us by SIGHUP; a pipe that is closed is known by writing to it only.
func (s *screen) write(out io.Writer) {
	defer close(s.written)
	tell := sync.OnceFunc(func() { close(s.unread) })
	buffer := bufio.NewWriterSize(out, 32<<10)
	for line := range s.lines {
		_, err := buffer.WriteString(line)
		if err == nil && len(s.lines) == 0 {
			err = buffer.Flush()
		}
		if errors.Is(err, syscall.EPIPE) {
			tell() // and go on: nobody who shows a line may wait
		}
	}
	_ = buffer.Flush()
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

// say shows a line of the starter itself, which is about the whole.
func (s *screen) say(text string) {
	s.put(fmt.Sprintf("%-*s %s\n", s.width, "ring:", text), false)
}

func (s *screen) warn(text string) {
	s.put(s.paint.in(red, fmt.Sprintf("%-*s %s", s.width, "ring:", text))+"\n", false)
}

// state shows what an instance said of the ring.
func (s *screen) state(text string, ok bool) {
	color := bold
	if !ok {
		color = red
	}
	s.put(s.paint.in(color, fmt.Sprintf("%-*s %s", s.width, "ring:", text))+"\n", false)
}

// line shows what a child said: name, port, and the tick alone or the words.
func (s *screen) line(c child, text string, complaint bool) {
	for _, w := range []struct{ word, color string }{{tickWord, dim}, {lapWord, purple}} {
		if tick, ok := strings.CutPrefix(text, w.word); ok && !complaint {
			tick = fmt.Sprintf("%-*s %5d %s", s.width, c.name, c.port, tick)
			s.put(s.paint.in(w.color, tick)+"\n", true)
			return
		}
	}
	name := s.paint.in(bold, fmt.Sprintf("%-*s", s.width, c.name))
	if complaint {
		text = s.paint.in(yellow, text)
	}
	s.put(fmt.Sprintf("%s %5d %s\n", name, c.port, text), !complaint)
}

// put queues a line, or counts it as lost.
func (s *screen) put(line string, ofChild bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || (s.hushed && ofChild) {
		return
	}
	if s.lost > 0 {
		note := fmt.Sprintf("%-*s %d lines are not shown: this terminal is slower than the ring\n",
			s.width, "ring:", s.lost)
		select {
		case s.lines <- note:
			s.lost = 0
		default:
		}
	}
	select {
	case s.lines <- line:
	default:
		s.lost++
	}
}
