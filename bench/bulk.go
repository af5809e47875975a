package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"time"

	"ringofservers.dev/internal/fleet"
)

// bulkBytes is what is sent: a thousand chunks.
const bulkBytes = 64 << 20

// bulk sends a large payload to eleven processes, beside plain copies of the same bytes
// over as many hops of loopback. There all hops share the machine's cores, so it is the
// work that is compared; what latency and bandwidth cost is simulated in the tests.
func bulk(b *bench) error {
	n, trials := or(b.Nodes, 11), or(b.Trials, 5)
	r, err := b.ring(n, nil)
	if err != nil {
		return err
	}
	if err := r.StartAll(60 * time.Second); err != nil {
		return fmt.Errorf("%w\n%s", err, tail(r.Logs()))
	}
	var plain, checked, last, all []time.Duration
	for k := range trials {
		payload := make([]byte, bulkBytes)
		_, _ = rand.NewChaCha8([32]byte{byte(k)}).Read(payload) // never fails
		b.say("trial %d", k)
		for _, one := range []struct {
			into   *[]time.Duration
			checks bool
		}{{&plain, false}, {&checked, true}} {
			took, err := b.copyAlong(payload, n-1, one.checks)
			if err != nil {
				return err
			}
			*one.into = append(*one.into, took)
		}
		begin := time.Now()
		most, err := b.sendBulk(r, payload)
		if err != nil {
			return fmt.Errorf("%w\n%s", err, tail(r.Logs()))
		}
		last, all = append(last, most), append(all, time.Since(begin))
	}
	base, fair := median(plain), median(checked)
	t := b.out.table(fmt.Sprintf("%d MiB to %d instances, median of %d", bulkBytes>>20, n, trials),
		"what", "time", "of a plain copy", "of one that checks")
	for _, row := range []struct {
		what  string
		times []time.Duration
	}{
		{fmt.Sprintf("plain TCP copy over %d hops", n-1), plain},
		{"the same, each hop writes a file and its SHA-256", checked},
		{"ring: from the manifest to the last instance", last},
		{"ring: from the request to the last, as asked over HTTP", all},
	} {
		m := median(row.times)
		t.row(row.what, short(m), m.Seconds()/base.Seconds(), m.Seconds()/fair.Seconds())
	}
	return nil
}

// sendBulk has the first instance broadcast payload and returns how long it took after
// its manifest to be whole where it was so last.
func (b *bench) sendBulk(r *fleet.Ring, payload []byte) (most time.Duration, err error) {
	resp, err := http.Post("http://"+r.Addrs[0]+"/v1/broadcast/bench", "", bytes.NewReader(payload))
	if err != nil {
		return 0, err
	}
	var sent struct {
		Error string `json:"error"`
		Large struct {
			Name string `json:"name"`
		} `json:"large"`
	}
	err = json.NewDecoder(resp.Body).Decode(&sent)
	if err = errors.Join(err, resp.Body.Close()); err != nil || sent.Error != "" {
		return 0, fmt.Errorf("broadcast: %s %w", sent.Error, err)
	}
	for i := 1; i < len(r.Addrs); i++ {
		err := fleet.Await(60*time.Second, r.Names[i]+" has it", func() bool {
			rate, ok := bulkRate(r, i, sent.Large.Name)
			if ok {
				most = max(most, time.Duration(float64(len(payload))/rate*float64(time.Second)))
			}
			return ok
		})
		if err != nil {
			return 0, err
		}
	}
	return most, nil
}

// bulkRate is how fast a payload came to instance i; ok is false while it is not whole.
func bulkRate(r *fleet.Ring, i int, name string) (rate float64, ok bool) {
	text, err := r.API.Get(r.Addrs[i], "/v1/bulk")
	if err != nil {
		return 0, false
	}
	var answer struct {
		Transfers []struct {
			Name  string  `json:"name"`
			State string  `json:"state"`
			Rate  float64 `json:"rate_bytes_per_second"`
		} `json:"transfers"`
	}
	if json.Unmarshal(text, &answer) != nil {
		return 0, false
	}
	for _, t := range answer.Transfers {
		if t.Name == name && t.State == "whole" && t.Rate > 0 {
			return t.Rate, true
		}
	}
	return 0, false
}

// copyAlong copies payload over so many hops of loopback and returns when the last has
// it all.
func (b *bench) copyAlong(payload []byte, hops int, checks bool) (time.Duration, error) {
	var listeners []net.Listener
	defer func() {
		for _, l := range listeners {
			l.Close()
		}
	}()
	for range hops {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, err
		}
		listeners = append(listeners, l)
	}
	ends := make(chan error, hops)
	for k, l := range listeners {
		next := ""
		if k+1 < hops {
			next = listeners[k+1].Addr().String()
		}
		go func() { ends <- b.copyHop(l, next, checks) }()
	}
	begin := time.Now()
	nc, err := net.Dial("tcp", listeners[0].Addr().String())
	if err != nil {
		return 0, err
	}
	_, err = nc.Write(payload)
	err = errors.Join(err, nc.Close())
	for range hops {
		err = errors.Join(err, <-ends)
	}
	return time.Since(begin), err
}

// copyHop takes one connection and hands all of it on.
func (b *bench) copyHop(l net.Listener, next string, checks bool) error {
	in, err := l.Accept()
	if err != nil {
		return err
	}
	defer in.Close()
	var outs []io.Writer
	if next != "" {
		nc, err := net.Dial("tcp", next)
		if err != nil {
			return err
		}
		defer nc.Close()
		outs = append(outs, nc)
	}
	var sum hash.Hash
	if checks {
		f, err := os.CreateTemp(b.dir, "copy")
		if err != nil {
			return err
		}
		defer os.Remove(f.Name())
		defer f.Close()
		sum = sha256.New()
		outs = append(outs, f, sum)
	}
	// Not io.Copy of the bare sockets: that would splice them in the kernel.
	_, err = io.CopyBuffer(io.MultiWriter(outs...), struct{ io.Reader }{in}, make([]byte, 64<<10))
	return err
}
