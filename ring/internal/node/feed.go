package node

import (
	"sync"
	"sync/atomic"
)

// feed keeps the newest of a stream for those who follow it at their own pace.
// Who is too slow misses the oldest, and is told how many.
type feed[T any] struct {
	kept      int
	weigh     func(v T) int // nil: by number only
	most      int           // of what is kept, by weight; the newest is kept in any case
	followers atomic.Int32
	missed    atomic.Uint64 // by all followers together

	mu     sync.Mutex // guards what follows
	buf    []T        // buf[(seq-1)%kept] has sequence number seq
	weight int        // of what is kept
	gone   uint64     // up to this nothing is kept any more
	last   uint64     // sequence number of the newest, 0 for none yet
	wakes  map[chan struct{}]struct{}
	closed bool
}

func newFeed[T any](kept int) *feed[T] {
	return &feed[T]{kept: kept, wakes: map[chan struct{}]struct{}{}}
}

// followed says whether anybody follows.
func (f *feed[T]) followed() bool { return f.followers.Load() > 0 }

// push keeps v as the newest; wake is for the caller to call when it suits.
func (f *feed[T]) push(v T) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.last-f.gone == uint64(f.kept) {
		f.forget()
	}
	if len(f.buf) < f.kept {
		f.buf = append(f.buf, v)
	} else {
		f.buf[f.last%uint64(f.kept)] = v
	}
	f.last++
	if f.weigh == nil {
		return
	}
	for f.weight += f.weigh(v); f.weight > f.most && f.last-f.gone > 1; {
		f.forget()
	}
}

// forget keeps the oldest no longer.
func (f *feed[T]) forget() {
	var none T
	oldest := &f.buf[f.gone%uint64(f.kept)]
	if f.weigh != nil {
		f.weight -= f.weigh(*oldest)
	}
	*oldest = none
	f.gone++
}

// wake tells the followers that there is something new.
func (f *feed[T]) wake() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for w := range f.wakes {
		select {
		case w <- struct{}{}:
		default: // it has one to come already
		}
	}
}

// since returns what is kept of the sequence numbers above seq, and the number
// of the first of it.
func (f *feed[T]) since(seq uint64) (items []T, first uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	first = max(seq, f.gone) + 1
	for s := first; s <= f.last; s++ {
		items = append(items, f.buf[(s-1)%uint64(f.kept)])
	}
	return items, first
}

// newest is the sequence number of the newest.
func (f *feed[T]) newest() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// follow calls each, from a goroutine of its own, for what is kept after seq
// and for all to come, until stop is called or the feed is closed; what came
// before the closing is still delivered. ended is closed after the last call.
// stop does not wait for a call that is running, so that it may be called from
// within one.
func (f *feed[T]) follow(seq uint64, each func(seq uint64, v T)) (
	stop func(), ended <-chan struct{},
) {
	wake, quit, done := make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	f.mu.Lock()
	f.wakes[wake] = struct{}{}
	f.followers.Add(1)
	if f.closed || f.last > seq {
		wake <- struct{}{}
	}
	f.mu.Unlock()
	go func() {
		defer close(done)
		defer f.unfollow(wake)
		f.deliver(seq, each, wake, quit)
	}()
	return sync.OnceFunc(func() { close(quit) }), done
}

func (f *feed[T]) unfollow(wake chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.wakes, wake)
	f.followers.Add(-1)
}

// deliver is the loop of one follower.
func (f *feed[T]) deliver(seq uint64, each func(uint64, T), wake, quit <-chan struct{}) {
	for {
		select {
		case <-quit:
			return
		case <-wake:
		}
		f.mu.Lock()
		closed := f.closed
		f.mu.Unlock()
		items, first := f.since(seq)
		if seq+1 < first && seq > 0 {
			f.missed.Add(first - seq - 1)
		}
		for i, v := range items {
			select {
			case <-quit:
				return
			default:
			}
			seq = first + uint64(i)
			each(seq, v)
		}
		if closed {
			return
		}
	}
}

// close ends all following, after what is there.
func (f *feed[T]) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.wake()
}
