package lag

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// window is how many bytes of one direction may be on their way or waiting to be
// taken: at 20 ms that lets 200 MB a second through.
const window = 4 << 20

// errHalf ends a direction whose other one goes on.
var errHalf = errors.New("lag: half closed")

// pipe is one direction behind, or before, the line.
type pipe struct {
	mu     sync.Mutex
	change *sync.Cond
	buf    []byte // due, and not taken
	held   int    // reserved, and not taken
	err    error  // behind buf
	closed bool   // by this side: nothing is taken any more
	takeBy deadline
	giveBy deadline
}

// deadline is the time by which something must be done, zero for never.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) over() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func newPipe() *pipe {
	p := new(pipe)
	p.change = sync.NewCond(&p.mu)
	return p
}

// by sets the deadline of take, or that of reserve.
func (p *pipe) by(take bool, t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := &p.giveBy
	if take {
		d = &p.takeBy
	}
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if d.at = t; !t.IsZero() {
		d.timer = time.AfterFunc(time.Until(t), p.tell)
	}
	p.change.Broadcast()
}

func (p *pipe) tell() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.change.Broadcast()
}

// reserve waits for room for n bytes, which are put later.
func (p *pipe) reserve(n int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.closed:
			return net.ErrClosed
		case p.err != nil:
			return p.err
		case p.giveBy.over():
			return os.ErrDeadlineExceeded
		case p.held == 0 || p.held+n <= window:
			p.held += n
			return nil
		}
		p.change.Wait()
	}
}

func (p *pipe) put(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.buf = append(p.buf, b...)
	p.change.Broadcast()
}

// take waits for something that is due.
func (p *pipe) take(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.closed:
			return 0, net.ErrClosed
		case p.takeBy.over():
			return 0, os.ErrDeadlineExceeded
		case len(p.buf) > 0:
			n := copy(b, p.buf)
			if p.buf = p.buf[n:]; len(p.buf) == 0 {
				p.buf = nil
			}
			p.held -= n
			p.change.Broadcast()
			return n, nil
		case p.err != nil:
			return 0, p.err
		}
		p.change.Wait()
	}
}

// end ends the direction behind what was put; it returns whether it had not ended.
func (p *pipe) end(err error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return false
	}
	p.err = err
	p.change.Broadcast()
	return true
}

// shut ends it at once.
func (p *pipe) shut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.change.Broadcast()
}
