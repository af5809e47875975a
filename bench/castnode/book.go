package main

import (
	"encoding/binary"
	"log"
	"sync"
	"sync/atomic"
	"time"

	"ringofservers.dev/bench/control"
)

// book is what came.
type book struct {
	slow atomic.Int64 // time to take for each message

	sent, got, twice, missed, gone atomic.Uint64

	mu    sync.Mutex // guards what follows
	after map[uint32]time.Duration
}

func newBook() *book { return &book{after: map[uint32]time.Duration{}} }

// payload is that of the message id, 0 for one of a storm, sent now.
func payload(id uint32, size int) []byte {
	b := make([]byte, max(size, control.HeadLen))
	binary.BigEndian.PutUint32(b, id)
	binary.BigEndian.PutUint64(b[4:], uint64(control.Clock()))
	return b
}

// receive takes a message that was delivered here; own ones count in a storm only.
func (b *book) receive(payload []byte, own bool) {
	if len(payload) < control.HeadLen {
		log.Fatal("castnode: a message came mutilated")
	}
	if d := time.Duration(b.slow.Load()); d > 0 {
		time.Sleep(d)
	}
	id := binary.BigEndian.Uint32(payload)
	if id == 0 {
		b.got.Add(1)
		return
	}
	if own {
		return
	}
	after := control.Clock() - time.Duration(binary.BigEndian.Uint64(payload[4:]))
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.after[id]; ok {
		b.twice.Add(1)
		return
	}
	b.after[id] = after
}

func (b *book) miss(n uint64, gone bool) {
	if gone {
		b.gone.Add(n)
	} else {
		b.missed.Add(n)
	}
}

func (b *book) counted() *control.Count {
	return &control.Count{
		Sent: b.sent.Load(), Got: b.got.Load(), Twice: b.twice.Load(), Missed: b.missed.Load(),
		Gone: b.gone.Load(),
	}
}

func (b *book) receipts() []control.Receipt {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []control.Receipt
	for id, after := range b.after {
		list = append(list, control.Receipt{ID: id, After: after})
	}
	return list
}

// storm publishes as fast as it can.
func (b *book) storm(m member, o control.Order) {
	for end := control.Clock() + o.For; control.Clock() < end; b.sent.Add(1) {
		if err := m.publish(payload(0, o.Size)); err != nil {
			log.Fatal("castnode: storm: ", err)
		}
	}
}
