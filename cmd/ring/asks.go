package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

const (
	// askFresh is how old a request for an instance may be when its process is found to
	// have ended: those who ask may know of it a little sooner.
	askFresh = 2 * time.Second
	// unasked is after how long a child is started though nobody asks for it, as the
	// supervisor of a host does: it may have died before anybody had met it.
	unasked = 15 * time.Second
	// lookAround is how often a starter whose child is gone looks whether any is left.
	lookAround = 200 * time.Millisecond
)

// asks is where the instances of a starter ask it for dead ones: HTTP on loopback. The
// path has a secret that only they know.
type asks struct {
	url    string // with a slash behind; a name follows
	server *http.Server
	byName map[string]chan time.Time // when each was asked for
}

func listenForAsks(children []child) (*asks, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the instances: %w", err)
	}
	secret := rand.Text()
	a := &asks{
		url:    fmt.Sprintf("http://%s/%s/", l.Addr(), secret),
		byName: make(map[string]chan time.Time, len(children)),
	}
	for _, c := range children {
		a.byName[c.name] = make(chan time.Time, 1)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /"+secret+"/{name...}", a.hear)
	a.server = &http.Server{Handler: mux, ReadTimeout: answerTime, WriteTimeout: answerTime}
	go func() { _ = a.server.Serve(l) }() // it ends with close, and with nothing else
	return a, nil
}

// hear notes that somebody was asked for. Asked for one that runs, nothing is done.
func (a *asks) hear(w http.ResponseWriter, req *http.Request) {
	asked, ok := a.byName[req.PathValue("name")]
	if !ok {
		http.Error(w, "there is no such instance", http.StatusNotFound)
		return
	}
	select {
	case <-asked: // an older one
	default:
	}
	select {
	case asked <- time.Now():
	default: // another one just now
	}
}

// all asks for every instance.
func (a *asks) all() {
	for _, asked := range a.byName { // in any order: each has its own
		select {
		case asked <- time.Now():
		default:
		}
	}
}

func (a *asks) close() error {
	if a == nil {
		return nil
	}
	if err := a.server.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close what the instances ask at: %w", err)
	}
	return nil
}

// awaitTurn waits until a child that has ended is to be started again, and says whether
// it is: after a pause, or where instances ask for each other, when one does.
func (s *starter) awaitTurn(ctx context.Context, c child, pause time.Duration) bool {
	if s.asks == nil {
		select {
		case <-time.After(pause):
			return true
		case <-ctx.Done():
			return false
		}
	}
	began, look := time.Now(), time.NewTicker(lookAround)
	defer look.Stop()
	for {
		select {
		case at := <-s.asks.byName[c.name]:
			if time.Since(at) < askFresh {
				return true
			}
		case <-look.C:
			gone := time.Since(began)
			if gone >= unasked {
				s.screen.say(fmt.Sprintf("nobody asks for %s; it is started again by this starter", c.name))
				return true
			}
			if gone >= pause && s.none() {
				s.asks.all() // nobody is left who could ask
			}
		case <-ctx.Done():
			return false
		}
	}
}

// none says whether no child runs.
func (s *starter) none() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.running) == 0
}
