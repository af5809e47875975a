//go:build linux

package fleet

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// answerMax bounds what is read of one answer.
const answerMax = 64 << 20

// Epoch, Instance, Link, Status, Event and Tick are the parts of the public
// JSON that tests and benchmarks look at, written down a second time on
// purpose: a change of a name in the product fails here.
type Epoch struct {
	Number  uint64 `json:"number"`
	Counter uint64 `json:"counter"`
	Dropper string `json:"dropper"`
}

// Instance is one row of a Status.
type Instance struct {
	Index       int        `json:"index"`
	Name        string     `json:"name"`
	Address     string     `json:"address"`
	State       string     `json:"state"`
	Incarnation uint32     `json:"incarnation"`
	Next        string     `json:"next"`
	Tick        uint64     `json:"tick"`
	RTTMillis   *float64   `json:"rtt_ms"`
	DampedUntil *time.Time `json:"damped_until"`
	PID         int        `json:"pid"`
	Protocol    int        `json:"protocol"`
}

// Link is a link that does not carry while both of its ends live.
type Link struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Status is the answer of /v1/status.
type Status struct {
	V          int    `json:"v"`
	Ring       string `json:"ring"`
	Self       string `json:"self"`
	Anchored   bool   `json:"anchored"`
	CutOff     bool   `json:"cut_off"`
	BadLinks   []Link `json:"bad_links"`
	Epoch      Epoch  `json:"epoch"`
	Tick       uint64 `json:"tick"`
	Lap        uint64 `json:"lap"`
	Laps       uint64 `json:"laps"`
	Leader     string `json:"leader"`
	Revision   uint64 `json:"revision"`
	View       string `json:"view"`
	Next       string `json:"next"`
	Detour     string `json:"detour"`
	RosterHash string `json:"roster_hash"`
	LapMS      struct {
		P50 float64 `json:"p50"`
		P99 float64 `json:"p99"`
	} `json:"lap_ms"`
	Instances []Instance `json:"instances"`
}

// State is the state of the instance of that name, "" if it is not there.
func (s *Status) State(name string) string {
	for i := range s.Instances {
		if s.Instances[i].Name == name {
			return s.Instances[i].State
		}
	}
	return ""
}

// Event is one line of an instance's story.
type Event struct {
	Seq         uint64    `json:"seq"`
	At          time.Time `json:"at"`
	Instance    string    `json:"instance"`
	Kind        string    `json:"kind"`
	Subject     string    `json:"subject"`
	By          []string  `json:"by"`
	Incarnation uint32    `json:"incarnation"`
	Epoch       *Epoch    `json:"epoch"`
	Proof       bool      `json:"proof"`
	Tick        uint64    `json:"tick"`
	Skipped     uint64    `json:"skipped"`
	Text        string    `json:"text"`
}

// Tick is one pass of the particle.
type Tick struct {
	At       time.Time `json:"at"`
	Instance string    `json:"instance"`
	Epoch    Epoch     `json:"epoch"`
	Lap      uint64    `json:"lap"`
	Tick     uint64    `json:"tick"`
	Anchored bool      `json:"anchored"`

	Held time.Duration `json:"held_ns"` // rests of the lap
}

// API asks instances over HTTP. It keeps no connection between two questions:
// an open one would wake an instance that is being measured.
type API struct{ client http.Client }

// NewAPI gives up on a question after that long.
func NewAPI(patience time.Duration) *API {
	return &API{http.Client{
		Timeout:   patience,
		Transport: &http.Transport{DisableKeepAlives: true},
	}}
}

// Get is the body of an answer with status 200.
func (a *API) Get(addr, path string) ([]byte, error) {
	resp, err := a.client.Get("http://" + addr + path)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, answerMax))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s%s: %s: %.200s", addr, path, resp.Status, b)
	}
	return b, nil
}

// Status asks an instance for its status.
func (a *API) Status(addr string) (*Status, error) {
	b, err := a.Get(addr, "/v1/status")
	if err != nil {
		return nil, err
	}
	s := new(Status)
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("%s/v1/status: %w", addr, err)
	}
	return s, nil
}

// Events are the events the instance still keeps behind that number, in order.
func (a *API) Events(addr string, since uint64) ([]Event, error) {
	b, err := a.Get(addr, fmt.Sprintf("/v1/events?since=%d", since))
	if err != nil {
		return nil, err
	}
	return decode[Event](b)
}

// decode reads a list, an object with a list of events, or one object a line.
func decode[T any](b []byte) ([]T, error) {
	b = bytes.TrimSpace(b)
	var list []T
	if len(b) > 0 && b[0] == '[' {
		err := json.Unmarshal(b, &list)
		return list, err
	}
	var wrapped struct {
		Events *[]T `json:"events"`
	}
	if json.Unmarshal(b, &wrapped) == nil && wrapped.Events != nil {
		return *wrapped.Events, nil
	}
	d := json.NewDecoder(bytes.NewReader(b))
	for {
		var one T
		if err := d.Decode(&one); err == io.EOF {
			return list, nil
		} else if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
}

// Follow calls each with every tick of an instance, as it comes, until the
// context ends or the instance does.
func (a *API) Follow(ctx context.Context, addr string, each func(Tick)) error {
	url := "http://" + addr + "/v1/ticks?follow=1"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: a.client.Transport} // no bound on the whole answer
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	for lines := bufio.NewScanner(resp.Body); ; {
		if !lines.Scan() {
			return lines.Err()
		}
		line := bytes.TrimPrefix(lines.Bytes(), []byte("data: "))
		var t Tick
		if json.Unmarshal(line, &t) == nil && !t.At.IsZero() {
			each(t)
		}
	}
}
