package main

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// told is what tell writes, without the end of the line.
func told(at time.Time, words string) string {
	var out strings.Builder
	tell(&out, at, words)
	return strings.TrimSuffix(out.String(), "\n")
}

// page is a terminal that can be looked at while it is written to.
type page struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (p *page) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

func (p *page) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// The story is told in the order in which it happened, not in that of its coming. A
// complaint and what the starter says have their place by when they came.
func TestScreenTellsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := child{name: "a/0", port: 1}, child{name: "a/1", port: 2}
		var out page
		s := newScreen(&out, []child{a, b})
		began := time.Now()
		at := func(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }

		time.Sleep(at(30).Sub(began))
		s.line(b, told(at(20), tickWord+"7")) // a/1 had a core before a/0
		s.line(b, told(at(25), "a/0 is back"))
		s.complain(b, "at 30")
		time.Sleep(at(60).Sub(at(30)))
		s.line(a, told(at(10), tickWord+"7")) // ticks and the story come in two streams
		s.line(a, told(at(22), "I am in the ring"))
		s.line(a, told(at(10), "I have dropped a particle"))
		s.line(a, told(at(15), lapWord+"- lap 9"))
		s.say("at 60")

		time.Sleep(orderFor - at(60).Sub(at(30)) - time.Millisecond)
		synctest.Wait()
		if out.String() != "" {
			t.Errorf("shown before the first line has waited:\n%s", &out)
		}
		time.Sleep(time.Millisecond + screenBeat)
		synctest.Wait()
		want := strings.Join([]string{
			"a/0       1 I have dropped a particle",
			"ring: first tick after 0.01 s",
			"a/0       1 7",
			"a/0       1 - lap 9",
			"a/1       2 7",
			"a/0       1 I am in the ring",
			"a/1       2 a/0 is back",
			"a/1       2 at 30",
		}, "\n") + "\n"
		if out.String() != want {
			t.Errorf("shown is\n%swant\n%s", &out, want)
		}

		// What was accepted is shown, though all is over before its time.
		s.line(a, told(time.Now(), "I was quick"))
		s.hush()
		s.line(a, told(time.Now(), "goodbye"))
		s.say("the end")
		s.close()
		want += "ring: at 60\na/0       1 I was quick\nring: the end\n"
		if out.String() != want {
			t.Errorf("shown in the end is\n%swant\n%s", &out, want)
		}
	})
}

// A clock that is set, forward or back, makes no line wait longer, nor does a line
// without a time.
func TestOrderWaitsNoLonger(t *testing.T) {
	now := time.Now()
	var o order
	o.add(screenLine{at: now.Add(time.Hour).UnixNano(), came: now, text: "future"})
	for i := range 3 {
		came := now.Add(time.Duration(i+1) * time.Millisecond)
		o.add(screenLine{at: came.UnixNano(), came: came, text: fmt.Sprint(i)})
	}
	if got := o.ripe(now.Add(orderFor - 1)); got != 0 {
		t.Errorf("%d lines are to go before their time", got)
	}
	if got := o.wait(now); got != orderFor {
		t.Errorf("the first waits for %v, want %v", got, orderFor)
	}
	if got := o.ripe(now.Add(orderFor)); got != len(o) || o[3].text != "future" {
		t.Errorf("%d lines of %v are to go, want all", got, o)
	}
	for _, text := range []string{"panic: oh", "12", "", "tomorrow I go"} {
		if l := readTold(text); l.at != 0 || l.text != text {
			t.Errorf("%q is read as %+v, want it whole and without a time", text, l)
		}
	}
}

// More lines than may wait, all at once and the newest first: none is lost.
func TestScreenKeepsAllItAccepts(t *testing.T) {
	const more = 3 * orderMax
	synctest.Test(t, func(t *testing.T) {
		var out page
		s := newScreen(&out, nil)
		began := time.Now()
		time.Sleep(time.Second)
		for i := range more {
			s.line(child{}, told(began.Add(time.Duration(more-i)), "x"))
			if i%1000 == 0 {
				synctest.Wait() // the writer keeps up
			}
		}
		s.close()
		if got := strings.Count(out.String(), "x\n"); got != more {
			t.Errorf("%d lines were shown, want %d", got, more)
		}
	})
}

// broken is a pipe whose other end is closed.
type broken struct{}

func (broken) Write([]byte) (int, error) {
	return 0, fmt.Errorf("write: %w", errors.Join(syscall.EPIPE))
}

func TestScreenNoticesThatNobodyReads(t *testing.T) {
	s := newScreen(broken{}, nil)
	s.say("hello")
	<-s.unread
	s.say("is anybody there?")
	s.close()
}
