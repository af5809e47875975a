package admin

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"ringofservers.dev/ring"
)

const (
	// eventsMax bounds one answer of /v1/events.
	eventsMax = 4096
	// framePace is how often the page hears of the particle at most: what a
	// screen can show; a fast ring passes a hundred times as often.
	framePace = 50 * time.Millisecond
	// statusPace is how often the page hears the whole status.
	statusPace = time.Second
)

// view answers with the view; with follow=1 it goes on with each change.
func (a *api) view(w http.ResponseWriter, req *http.Request) {
	if !follows(req) {
		writeJSON(w, http.StatusOK, viewObject{1, a.ring.View()})
		return
	}
	a.stream(w, req, func(offer func(item)) func() {
		offer(item{body: viewObject{1, a.ring.View()}})
		return a.ring.OnView(func(v ring.View) { offer(item{body: viewObject{1, v}}) })
	})
}

// events answers with the story after since; with follow=1 it goes on.
func (a *api) events(w http.ResponseWriter, req *http.Request) {
	since, err := number(req, "since", 0)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	limit, err := number(req, "limit", eventsMax)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	if !follows(req) {
		events := a.ring.Events(since)
		if n := uint64(len(events)); n > limit {
			events = events[n-limit:]
		}
		objects := make([]eventObject, len(events))
		for i, e := range events {
			objects[i] = eventObject{1, e}
		}
		writeJSON(w, http.StatusOK, map[string]any{"v": 1, "events": objects})
		return
	}
	if resume, ok := resumed(req); ok {
		since = resume
	}
	a.stream(w, req, func(offer func(item)) func() {
		return a.ring.OnEvent(since, func(e ring.Event) {
			offer(item{id: eventID(e), body: eventObject{1, e}})
		})
	})
}

// ticks answers with the latest pass of the particle here, or null; with
// follow=1 it goes on with each, or at most one per every.
func (a *api) ticks(w http.ResponseWriter, req *http.Request) {
	pace, err := interval(req, "every")
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	if !follows(req) {
		body := map[string]any{"v": 1, "tick": nil}
		if last, ok := a.ring.LastTick(); ok {
			body["tick"] = tickObject{1, last}
		}
		writeJSON(w, http.StatusOK, body)
		return
	}
	a.stream(w, req, func(offer func(item)) func() {
		gate := thin{every: pace}
		return a.ring.OnTick(func(t ring.Tick) {
			if gate.pass(t.At) {
				offer(item{body: tickObject{1, t}})
			}
		})
	})
}

// live is everything the page shows, as one stream: browsers open only six
// connections to one host, and several pages may be open.
func (a *api) live(w http.ResponseWriter, req *http.Request) {
	since, _ := resumed(req)
	a.stream(w, req, func(offer func(item)) func() {
		whole := func() {
			offer(item{name: "status", body: a.statusNow()})
			offer(item{name: "bus", body: a.ring.Bus().Status()})
		}
		whole()
		if last, ok := a.ring.LastTick(); ok {
			offer(item{name: "tick", body: tickObject{1, last}})
		}
		gate := thin{every: framePace}
		stopTicks := a.ring.OnTick(func(t ring.Tick) {
			if gate.pass(t.At) {
				offer(item{name: "tick", body: tickObject{1, t}})
			}
		})
		stopViews := a.ring.OnView(func(ring.View) { whole() })
		stopEvents := a.ring.OnEvent(since, func(e ring.Event) {
			offer(item{name: "event", id: eventID(e), body: eventObject{1, e}})
		})
		stopStatus := each(statusPace, whole)
		return func() {
			stopTicks()
			stopViews()
			stopEvents()
			stopStatus()
		}
	})
}

// each calls do in a goroutine of its own until stop, which waits for it.
func each(pace time.Duration, do func()) (stop func()) {
	quit, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		beat := time.NewTicker(pace)
		defer beat.Stop()
		for {
			select {
			case <-beat.C:
				do()
			case <-quit:
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-gone
	}
}

// eventID names an event across restarts of the process, for Last-Event-ID.
func eventID(e ring.Event) string { return fmt.Sprintf("%d.%d", os.Getpid(), e.Seq) }

// resumed is where a reconnecting event stream goes on: nowhere if the
// process it listened to was another one.
func resumed(req *http.Request) (since uint64, ok bool) {
	pid, seq, cut := strings.Cut(req.Header.Get("Last-Event-ID"), ".")
	if !cut || pid != strconv.Itoa(os.Getpid()) {
		return 0, false
	}
	since, err := strconv.ParseUint(seq, 10, 64)
	return since, err == nil
}

// follows says whether the client asked for a stream, by query or by Accept.
func follows(req *http.Request) bool {
	switch req.URL.Query().Get("follow") {
	case "":
		return strings.Contains(req.Header.Get("Accept"), "text/event-stream")
	case "0", "false":
		return false
	}
	return true
}

func number(req *http.Request, key string, otherwise uint64) (uint64, error) {
	text := req.URL.Query().Get(key)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s=%q is not a whole number from 0 up", key, text)
	}
	return n, nil
}

func interval(req *http.Request, key string) (time.Duration, error) {
	text := req.URL.Query().Get(key)
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%s=%q is not a duration such as 100ms", key, text)
	}
	return d, nil
}
