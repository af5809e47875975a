package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

const (
	// stalled is how long a client may leave a write unread before it is cut.
	stalled = 10 * time.Second
	// quiet is after how long a silent event stream sends a comment, so that
	// proxies keep it and a vanished client is noticed. The usual idle limit
	// of proxies is 60 s.
	quiet = 15 * time.Second
	// queue is how many items wait for a client; beyond it the ring's own
	// bounded queue of the subscriber drops the oldest.
	queue = 64
)

// item is one thing of a stream.
type item struct {
	name string // of the server-sent event; "" for the plain ones
	id   string // where to resume, or ""
	body any
}

// stream sends what subscribe offers until the client goes or the ring ends.
// Subscribe gets a function that may block, and returns how to stop.
func (a *api) stream(w http.ResponseWriter, req *http.Request,
	subscribe func(offer func(item)) (stop func()),
) {
	select {
	case a.streams <- struct{}{}:
		defer func() { <-a.streams }()
	default:
		refuse(w, http.StatusServiceUnavailable,
			fmt.Sprintf("%d streams are open already; close one", StreamsMax))
		return
	}

	ctx, cancel := context.WithCancel(req.Context())
	items := make(chan item, queue)
	offer := func(it item) {
		select {
		case items <- it:
		case <-ctx.Done():
		}
	}
	stop := subscribe(offer)
	defer stop()
	defer cancel() // first: an offer that waits lets go, then stop can wait for it
	out := newOutlet(w, req)
	out.open() // now: who has seen it begin misses nothing of what he then causes

	alive := time.NewTicker(quiet)
	defer alive.Stop()
	for err := error(nil); err == nil; {
		select {
		case it := <-items:
			err = out.send(it)
		case <-alive.C:
			err = out.comment()
		case <-a.asked:
			return
		case <-a.options.Leaving:
			return
		case <-a.ring.Done():
			return
		case <-ctx.Done():
			return
		}
	}
}

// outlet writes items as lines of JSON or as server-sent events.
type outlet struct {
	w       http.ResponseWriter
	control *http.ResponseController
	sse     bool
}

func newOutlet(w http.ResponseWriter, req *http.Request) *outlet {
	sse := strings.Contains(req.Header.Get("Accept"), "text/event-stream")
	return &outlet{w: w, control: http.NewResponseController(w), sse: sse}
}

func (o *outlet) open() {
	kind := "application/jsonl"
	if o.sse {
		kind = "text/event-stream"
	}
	o.w.Header().Set("Content-Type", kind)
	o.w.Header().Set("X-Accel-Buffering", "no") // nginx would hold items back
	o.w.WriteHeader(http.StatusOK)
	_ = o.control.Flush()
}

func (o *outlet) send(it item) error {
	text, err := json.Marshal(it.body)
	if err != nil {
		return fmt.Errorf("encode stream item: %w", err)
	}
	if !o.sse {
		return o.write(append(text, '\n'))
	}
	var block strings.Builder
	if it.id != "" {
		fmt.Fprintf(&block, "id: %s\n", it.id)
	}
	if it.name != "" {
		fmt.Fprintf(&block, "event: %s\n", it.name)
	}
	fmt.Fprintf(&block, "data: %s\n\n", text)
	return o.write([]byte(block.String()))
}

// comment keeps an event stream awake; lines of JSON know no comments.
func (o *outlet) comment() error {
	if !o.sse {
		return nil
	}
	return o.write([]byte(": still here\n\n"))
}

func (o *outlet) write(text []byte) error {
	// Not every ResponseWriter knows deadlines; those that do not have their
	// own way to end.
	_ = o.control.SetWriteDeadline(time.Now().Add(stalled))
	if _, err := o.w.Write(text); err != nil {
		return fmt.Errorf("write to client: %w", err)
	}
	return o.control.Flush()
}

// thin lets one of those that come pass per interval; the first always does.
type thin struct {
	every time.Duration
	last  time.Time
}

func (t *thin) pass(now time.Time) bool {
	if t.every > 0 && !t.last.IsZero() && now.Sub(t.last) < t.every {
		return false
	}
	t.last = now
	return true
}
