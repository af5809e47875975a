package haul

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"ringofservers.dev/ring/internal/wire"
)

const (
	frameMax     = 1 << 10          // bytes of any frame on these connections
	queueMax     = 1 << 20          // bytes of frames that a peer may be behind
	writeTimeout = 30 * time.Second // for a chunk to be taken by the socket
	keepAlive    = 15 * time.Second
	readBuffer   = 64 << 10
)

var errProtocol = errors.New("it says what no instance says")

// pipe is one connection, on which one side takes and the other gives. The Haul's lock
// guards out and job.
type pipe struct {
	nc   net.Conn
	peer int
	in   *bufio.Reader
	out  []byte
	job  job
	stop chan struct{} // closed when the reader has ended
	wake chan struct{} // one token while there is something to write
}

// job is a chunk to be given; without an item there is none.
type job struct {
	it    *item
	chunk int
}

func newPipe(nc net.Conn, rest []byte, peer int) *pipe {
	if t, ok := bareOf(nc).(*net.TCPConn); ok {
		// Nobody speaks on one that is idle: who has vanished is found so.
		_ = t.SetKeepAlive(true)
		_ = t.SetKeepAlivePeriod(keepAlive)
	}
	return &pipe{
		nc: nc, peer: peer, in: bufio.NewReaderSize(io.MultiReader(bytes.NewReader(rest), nc), readBuffer),
		stop: make(chan struct{}), wake: make(chan struct{}, 1),
	}
}

// bareOf is what is below TLS.
func bareOf(nc net.Conn) net.Conn {
	for {
		above, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			return nc
		}
		nc = above.NetConn()
	}
}

// say queues m.
func (p *pipe) say(m wire.Msg) {
	if p == nil {
		return // it is gone, and the core is told soon
	}
	if p.out = wire.Append(p.out, m); len(p.out) > queueMax {
		p.nc.Close() // its reader ends
	}
	p.stir()
}

func (p *pipe) stir() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// readFrame reads one frame of at most most bytes, into a buffer that is used again.
func readFrame(in *bufio.Reader, most uint32, buf []byte) (wire.Msg, error) {
	head, err := in.Peek(wire.HeaderLen)
	if err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint32(head)
	if length == 0 || length > most+1 {
		return nil, fmt.Errorf("%w: a frame of %d bytes", wire.ErrTooLong, length)
	}
	_, _ = in.Discard(wire.HeaderLen) // they are there
	if uint32(len(buf)) < length {
		buf = make([]byte, length)
	}
	if _, err := io.ReadFull(in, buf[:length]); err != nil {
		return nil, err
	}
	var d wire.Decoder
	m, err := d.Decode(buf[:length])
	if errors.Is(err, wire.ErrUnknownKind) {
		return nil, nil
	}
	return m, err
}

// dial starts to dial a giver. The caller holds the lock.
func (h *Haul) dial(peer int) {
	if h.ended {
		return
	}
	h.wg.Go(func() {
		ctx, cancel := context.WithTimeout(h.ctx, dialWithin)
		nc, rest, err := h.ties.Dial(ctx, peer)
		cancel()
		h.mu.Lock()
		if err != nil || h.ended {
			if err == nil {
				nc.Close()
			}
			h.core.Down(time.Now(), peer)
			h.carry()
			h.mu.Unlock()
			return
		}
		p := newPipe(nc, rest, peer)
		h.givers[peer] = p
		h.core.Up(time.Now(), peer)
		h.carry()
		h.mu.Unlock()
		h.wg.Go(func() { h.write(p, 0) })
		h.take(p)
		close(p.stop)
		nc.Close()
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.givers[peer] == p {
			delete(h.givers, peer)
			h.core.Down(time.Now(), peer)
			h.carry()
		}
	})
}

// take reads what a giver sends until it ends.
func (h *Haul) take(p *pipe) {
	frame := make([]byte, frameMax+1)
	var chunk []byte
	for {
		m, err := readFrame(p.in, frameMax, frame)
		if err != nil {
			return
		}
		switch m := m.(type) {
		case nil: // of a newer peer
		case *wire.Give:
			if chunk, err = h.receive(p, m, chunk); err != nil {
				return
			}
		default:
			h.mu.Lock()
			ok := h.givers[p.peer] != p || h.core.Received(time.Now(), p.peer, m)
			h.carry()
			h.mu.Unlock()
			if !ok {
				return
			}
		}
	}
}

// receive reads a chunk, checks it and writes it to its place, all without the lock. buf
// is used again; it is no larger than the chunks that were asked for.
func (h *Haul) receive(p *pipe, m *wire.Give, buf []byte) (_ []byte, err error) {
	h.mu.Lock()
	it := h.item(m.Name)
	asked, useful := h.core.Expects(p.peer, m.Name, int(m.Chunk))
	current := h.givers[p.peer] == p
	h.mu.Unlock()
	switch {
	case !current:
		return buf, errors.New("given up")
	case !asked || it != nil && (int(m.Chunk) >= len(it.m.Chunks) || int(m.Size) != it.m.Len(int(m.Chunk))):
		return buf, errProtocol
	}
	sound := true
	if useful {
		if len(buf) < int(m.Size) {
			buf = make([]byte, m.Size)
		}
		if _, err := io.ReadFull(p.in, buf[:m.Size]); err != nil {
			return buf, err
		}
		if sound = it.m.Sound(int(m.Chunk), buf[:m.Size]); sound {
			_, err = it.file.WriteAt(buf[:m.Size], int64(m.Chunk)*int64(it.m.Chunk))
		}
	} else if _, err := io.CopyN(io.Discard, p.in, int64(m.Size)); err != nil {
		return buf, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counts.In += uint64(m.Size)
	switch {
	case h.givers[p.peer] != p:
	case err != nil && h.item(m.Name) == it: // the disk: nothing more of it can be kept
		h.abandon(it)
	default:
		h.core.Got(time.Now(), p.peer, m.Name, int(m.Chunk), sound)
	}
	h.carry()
	return buf, nil
}

// Accept serves a taker until it ends.
func (h *Haul) Accept(peer int, nc net.Conn, rest []byte) {
	p := newPipe(nc, rest, peer)
	defer nc.Close()
	h.mu.Lock()
	if h.ended || len(h.takers) >= h.cfg.Takers {
		h.mu.Unlock()
		return // it asks another, or later
	}
	for _, old := range h.takers { // each: order does not matter
		if old.peer == peer {
			old.nc.Close() // of an earlier process, or broken on its side
		}
	}
	h.lastID++
	id := h.lastID
	h.takers[id] = p
	h.core.Joined(id, peer)
	h.wg.Add(2)
	h.mu.Unlock()
	defer h.wg.Done()
	go func() {
		defer h.wg.Done()
		h.write(p, id)
	}()
	frame := make([]byte, frameMax+1)
	for {
		m, err := readFrame(p.in, frameMax, frame)
		if err != nil {
			break
		}
		if m == nil {
			continue
		}
		h.mu.Lock()
		ok := h.core.Hear(time.Now(), id, m)
		h.carry()
		h.mu.Unlock()
		if !ok {
			break
		}
	}
	close(p.stop)
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.takers, id)
	h.core.Left(time.Now(), id)
	h.carry()
}

// write writes what is queued, frames before chunks, until the connection ends. id is
// that of a taker, 0 where p gives to us.
func (h *Haul) write(p *pipe, id int) {
	var spare, buf []byte
	for {
		select {
		case <-p.stop:
			return
		case <-p.wake:
		}
		h.mu.Lock()
		out, j := p.out, p.job
		p.out, p.job = spare[:0], job{}
		h.mu.Unlock()
		spare = out
		err := p.nc.SetWriteDeadline(time.Now().Add(writeTimeout))
		if err == nil && len(out) > 0 {
			_, err = p.nc.Write(out)
		}
		if err == nil && j.it != nil {
			buf, err = h.send(p, j, buf)
		}
		if err != nil {
			p.nc.Close() // its reader ends
			return
		}
		if j.it != nil {
			h.mu.Lock()
			h.counts.Out += uint64(j.it.m.Len(j.chunk))
			h.core.Gave(time.Now(), id)
			h.carry()
			h.mu.Unlock()
		}
	}
}

// send sends a chunk. One that cannot be read any more was let go meanwhile: the taker has
// been told so.
func (h *Haul) send(p *pipe, j job, buf []byte) ([]byte, error) {
	size := j.it.m.Len(j.chunk)
	buf = wire.Append(buf[:0], &wire.Give{
		Name: j.it.name, Chunk: uint32(j.chunk), Size: uint32(size),
	})
	head := len(buf)
	if cap(buf) < head+size {
		buf = append(make([]byte, 0, head+size), buf...)
	}
	buf = buf[:head+size]
	if _, err := j.it.file.ReadAt(buf[head:], int64(j.chunk)*int64(j.it.m.Chunk)); err != nil {
		return buf, nil
	}
	_, err := p.nc.Write(buf)
	return buf, err
}
