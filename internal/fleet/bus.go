//go:build linux

package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Bus is the answer of /v1/bus.
type Bus struct {
	History  string  `json:"history"`
	Era      uint32  `json:"era"`
	Leader   string  `json:"leader"`
	Term     uint64  `json:"term"`
	Quorum   bool    `json:"quorum"`
	Revision uint64  `json:"revision"`
	Epoch    uint64  `json:"epoch"`
	Limit    uint64  `json:"tick_limit"`
	Fence    uint64  `json:"fence"`
	Voters   []Voter `json:"voters"`
	Leases   []Lease `json:"leases"`
}

// Voter is one row of a Bus.
type Voter struct {
	Name string `json:"name"`
	ID   string `json:"id"`
	Role string `json:"role"`
}

// Lease is one that somebody holds.
type Lease struct {
	Name   string `json:"name"`
	Holder string `json:"holder"`
	Fence  uint64 `json:"fence"`
}

// Entry is a key of the bus.
type Entry struct {
	Key      string `json:"key"`
	Value    []byte `json:"value"`
	Revision uint64 `json:"revision"`
}

// Answer is what came back, whatever its status.
type Answer struct {
	Code     int
	Body     []byte
	Revision uint64 // of a write, or of what stood in its way
	Error    string
}

// Bus asks an instance what it knows of the bus.
func (a *API) Bus(addr string) (*Bus, error) {
	b, err := a.Get(addr, "/v1/bus")
	if err != nil {
		return nil, err
	}
	s := new(Bus)
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("%s/v1/bus: %w", addr, err)
	}
	return s, nil
}

// Do sends a request with that body, nil for none.
func (a *API) Do(method, addr, path string, body []byte) (Answer, error) {
	req, err := http.NewRequest(method, "http://"+addr+path, bytes.NewReader(body))
	if err != nil {
		return Answer{}, err
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, answerMax))
	if err != nil {
		return Answer{}, err
	}
	ans := Answer{Code: resp.StatusCode, Body: b}
	var said struct {
		Revision uint64 `json:"revision"`
		Error    string `json:"error"`
	}
	if json.Unmarshal(b, &said) == nil {
		ans.Revision, ans.Error = said.Revision, said.Error
	}
	return ans, nil
}

// KeyPath is where a key is, with these parameters: name, value, name, value.
func KeyPath(key string, params ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(params); i += 2 {
		q.Set(params[i], params[i+1])
	}
	return "/v1/bus/keys/" + url.PathEscape(key) + "?" + q.Encode()
}

// Local is how to talk to instance i as its own host does, which alone may
// change something: an API, and the address for it. In a Net the instance must
// listen at every address of its namespace.
func (r *Ring) Local(i int, patience time.Duration) (*API, string) {
	a := NewAPI(patience)
	if r.Net == nil {
		return a, r.Addrs[i]
	}
	a.client.Transport.(*http.Transport).DialContext = func(
		ctx context.Context, network, addr string,
	) (net.Conn, error) {
		return r.Net.Dial(ctx, i, network, addr)
	}
	return a, "127.0.0.1:3000"
}

// Entry reads a key, as everybody may.
func (a *API) Entry(addr, key string) (e Entry, err error) {
	b, err := a.Get(addr, KeyPath(key))
	if err != nil {
		return e, err
	}
	return e, json.Unmarshal(b, &e)
}
