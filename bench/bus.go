package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"ringofservers.dev/internal/fleet"
)

const (
	busVoters = 3
	// busKeys is how many keys there are, shared out among the writers: each
	// writes its own over and over, for a bus is bounded and a database grows.
	busKeys  = 16384
	busValue = 256 // bytes
)

var busWriters = []int{1, 16, 256}

// putter writes one key durably, for one writer.
type putter func(ctx context.Context, key string, value []byte) error

// store is three voters of one kind. clients returns n putters at the leader or
// at one who does not lead.
type store interface {
	clients(n int, leader bool) ([]putter, error)
	cpu() (time.Duration, error) // of all three so far
	logs() string
}

// rate is what one measurement found.
type rate struct {
	perSecond float64
	p50, p99  time.Duration
	// What one write takes of a processor: of the three voters, and of the client.
	servers, client time.Duration
}

// durable compares writes that survive a loss of power, three voters of ours
// beside three of etcd, data of both on one disk. Within a round one follows the
// other at once, and only ratios within a round count.
func durable(b *bench) error {
	rounds, span := or(b.Trials, 5), or(b.Span, 4*time.Second)
	kinds := []func(*bench) (store, error){newRingStore, newEtcdStore}
	for _, via := range []string{"leader", "follower"} {
		if !b.wants(via) {
			continue
		}
		var rates [2][]map[int]rate // by kind and round
		for round := range rounds {
			for k := range kinds {
				k = (k + round) % len(kinds)
				b.say("by the %s, round %d, kind %d", via, round+1, k)
				r, err := durableOnce(b, kinds[k], via == "leader", span)
				if err != nil {
					return err
				}
				rates[k] = append(rates[k], r)
			}
		}
		b.judgeDurable(via, rates[0], rates[1], span)
	}
	return nil
}

// durableOnce starts three voters and measures them with few and many writers.
func durableOnce(b *bench, start func(*bench) (store, error), leader bool, span time.Duration) (
	map[int]rate, error,
) {
	defer b.clear()
	s, err := start(b)
	if err != nil {
		return nil, err
	}
	out := map[int]rate{}
	for _, n := range busWriters {
		puts, err := s.clients(n, leader)
		if err != nil {
			return nil, fmt.Errorf("%w\n%s", err, tail(s.logs()))
		}
		if out[n], err = b.writeFor(s, puts, span); err != nil {
			return nil, fmt.Errorf("%d writers: %w\n%s", n, err, tail(s.logs()))
		}
	}
	return out, nil
}

// writeFor has every writer write one key after the other, and counts what is
// acknowledged after a first part that warms up.
func (b *bench) writeFor(s store, puts []putter, span time.Duration) (rate, error) {
	ctx, cancel := context.WithTimeout(b.ctx, span+20*time.Second)
	defer cancel()
	value := bytes.Repeat([]byte("v"), busValue)
	from := time.Now().Add(span / 4)
	till := from.Add(span)
	took := make([][]time.Duration, len(puts))
	var count atomic.Int64
	own := ownCPU()
	theirs, err := s.cpu()
	if err != nil {
		return rate{}, err
	}
	errs := make([]error, len(puts))
	var wg sync.WaitGroup
	for w, put := range puts {
		wg.Go(func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("bench/%d/%d", w, i%(busKeys/len(puts)))
				begin := time.Now()
				if begin.After(till) {
					return
				}
				if errs[w] = put(ctx, key, value); errs[w] != nil {
					cancel()
					return
				}
				count.Add(1)
				if end := time.Now(); begin.After(from) && end.Before(till) {
					took[w] = append(took[w], end.Sub(begin))
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return rate{}, err
		}
	}
	all := slices.Concat(took...)
	slices.Sort(all)
	if len(all) == 0 {
		return rate{}, fmt.Errorf("nothing was acknowledged in %v", span)
	}
	now, err := s.cpu()
	each := time.Duration(count.Load())
	return rate{
		float64(len(all)) / span.Seconds(), all[len(all)/2], all[len(all)*99/100],
		(now - theirs) / each, (ownCPU() - own) / each,
	}, err
}

// ownCPU is what this process has used.
func ownCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // of oneself it does not fail
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// cpuOf is what all of procs have used.
func cpuOf(procs []*fleet.Proc) (sum time.Duration, err error) {
	for _, p := range procs {
		d, err := fleet.CPU(p.PID())
		if err != nil {
			return 0, err
		}
		sum += d
	}
	return sum, nil
}

func (b *bench) judgeDurable(via string, ring, etcd []map[int]rate, span time.Duration) {
	t := b.out.table(fmt.Sprintf("durable writes by the %s, %d voters, %d bytes, %v each",
		via, busVoters, busValue, span), "writers", "round", "ring /s", "etcd /s", "ratio",
		"ring p50, p99", "etcd p50, p99", "ratio of p99", "CPU of servers, client: ring", "etcd")
	for _, n := range busWriters {
		var more, late []float64
		for i := range ring {
			r, e := ring[i][n], etcd[i][n]
			more = append(more, r.perSecond/e.perSecond)
			late = append(late, float64(r.p99)/float64(e.p99))
			t.row(n, i+1, fmt.Sprintf("%.0f", r.perSecond), fmt.Sprintf("%.0f", e.perSecond), more[i],
				short(r.p50)+", "+short(r.p99), short(e.p50)+", "+short(e.p99), late[i],
				short(r.servers)+", "+short(r.client), short(e.servers)+", "+short(e.client))
		}
		t.row(n, "median", "", "", median(more), "", "", median(late), "", "")
		if n > 1 {
			b.out.target(median(more) >= 1, fmt.Sprintf("%s, %d writers: writes against etcd's", via, n),
				">= 1.00", fmt.Sprintf("%.2f", median(more)))
		}
		b.out.target(median(late) <= 1.2, fmt.Sprintf("%s, %d writers: p99 against etcd's", via, n),
			"<= 1.20", fmt.Sprintf("%.2f", median(late)))
	}
}

// ringStore is three instances of ours, asked over HTTP, a connection for each
// writer.
type ringStore struct{ *fleet.Ring }

func newRingStore(b *bench) (store, error) {
	r, err := b.ring(busVoters, nil)
	if err != nil {
		return nil, err
	}
	r.Keep = true
	if err := r.StartAll(20*time.Second, "--log-level", "warn"); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, tail(r.Logs()))
	}
	return &ringStore{r}, awaitAnchored(r, r.All(), 20*time.Second)
}

func (r *ringStore) logs() string { return r.Logs() }

func (r *ringStore) cpu() (time.Duration, error) {
	var procs []*fleet.Proc
	for i := range r.Names {
		procs = append(procs, r.Proc(i))
	}
	return cpuOf(procs)
}

func (r *ringStore) clients(n int, leader bool) ([]putter, error) {
	i, err := busLeader(r.Ring, 0)
	if err != nil {
		return nil, err
	}
	if !leader {
		i = (i + 1) % busVoters
	}
	puts := make([]putter, n)
	for w := range puts {
		if puts[w], err = httpPutter(r.Addrs[i]); err != nil {
			return nil, err
		}
	}
	return puts, nil
}

// httpPutter keeps one connection open and speaks plain HTTP/1.1 on it. The
// client of net/http would hand every request to two goroutines of its own, and
// cost more than both servers together.
func httpPutter(addr string) (putter, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	var out []byte
	in := bufio.NewReader(conn)
	return func(ctx context.Context, key string, value []byte) error {
		if ctx.Err() != nil {
			conn.Close()
			return context.Cause(ctx)
		}
		out = fmt.Appendf(out[:0], "PUT /v1/bus/keys/%s HTTP/1.1\r\nHost: %s\r\n"+
			"Content-Length: %d\r\n\r\n", key, addr, len(value))
		if _, err := conn.Write(append(out, value...)); err != nil {
			return err
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("put %s: %s: %.200s", key, resp.Status, text)
		}
		return err
	}, nil
}

// busStatus is what is looked at of the answer of /v1/bus.
type busStatus struct {
	Leader string
	Voters []struct{ Name, Role, State string }
}

// role is what that instance is, "" if it has no part.
func (s *busStatus) role(name string) string {
	for _, v := range s.Voters {
		if v.Name == name {
			return v.Role
		}
	}
	return ""
}

func busOf(r *fleet.Ring, i int) (*busStatus, error) {
	text, err := r.API.Get(r.Addrs[i], "/v1/bus")
	if err != nil {
		return nil, err
	}
	s := new(busStatus)
	if err := json.Unmarshal(text, s); err != nil {
		return nil, fmt.Errorf("%s/v1/bus: %w", r.Addrs[i], err)
	}
	return s, nil
}

// busLeader is who leads, as instance i says.
func busLeader(r *fleet.Ring, i int) (int, error) {
	s, err := busOf(r, i)
	if err != nil {
		return -1, err
	}
	if at := slices.Index(r.Names, s.Leader); at >= 0 {
		return at, nil
	}
	return -1, fmt.Errorf("%s knows of no leader", r.Names[i])
}

// awaitAnchored waits until all of live say that their laps count.
func awaitAnchored(r *fleet.Ring, live []int, patience time.Duration) error {
	return fleet.Await(patience, "every instance is anchored", func() bool {
		for _, i := range live {
			if s, err := r.API.Status(r.Addrs[i]); err != nil || !s.Anchored {
				return false
			}
		}
		return true
	})
}

// etcdStore is three members of Debian's etcd with its default settings, asked
// by its own client over gRPC; all writers share one, as it is meant to be used.
type etcdStore struct {
	urls  []string
	procs []*fleet.Proc
}

func newEtcdStore(b *bench) (store, error) {
	if err := b.need("etcd"); err != nil {
		return nil, err
	}
	ports, err := fleet.FreePorts(2 * busVoters)
	if err != nil {
		return nil, err
	}
	e := new(etcdStore)
	var cluster []string
	for i := range busVoters {
		e.urls = append(e.urls, fmt.Sprintf("http://127.0.0.1:%d", ports[i]))
		cluster = append(cluster, fmt.Sprintf("m%d=http://127.0.0.1:%d", i, ports[busVoters+i]))
	}
	data := filepath.Join(b.dir, fmt.Sprintf("etcd%d", time.Now().UnixNano()))
	for i, url := range e.urls {
		_, peer, _ := strings.Cut(cluster[i], "=")
		p, err := b.group.Start(fleet.Spec{
			Name: fmt.Sprintf("etcd %d", i), Path: "etcd", Args: []string{
				"--name", fmt.Sprintf("m%d", i), "--data-dir", fmt.Sprintf("%s.%d", data, i),
				"--listen-client-urls", url, "--advertise-client-urls", url,
				"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
				"--initial-cluster", strings.Join(cluster, ","), "--initial-cluster-state", "new",
			},
		})
		if err != nil {
			return nil, err
		}
		e.procs = append(e.procs, p)
	}
	err = fleet.Await(20*time.Second, "etcd has a leader", func() bool {
		_, err := e.leader()
		return err == nil
	})
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, tail(e.logs()))
	}
	return e, nil
}

func (e *etcdStore) logs() string {
	var all []string
	for _, p := range e.procs {
		all = append(all, p.Output())
	}
	return strings.Join(all, "\n")
}

func (e *etcdStore) cpu() (time.Duration, error) { return cpuOf(e.procs) }

func (e *etcdStore) client(url string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints: []string{url}, DialTimeout: 5 * time.Second, Logger: zap.NewNop(),
	})
}

// leader is the index of the member that leads.
func (e *etcdStore) leader() (int, error) {
	for i, url := range e.urls {
		c, err := e.client(url)
		if err != nil {
			return -1, err
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		s, err := c.Status(ctx, url)
		cancel()
		c.Close()
		if err != nil {
			return -1, err
		}
		if s.Leader == s.Header.MemberId {
			return i, nil
		}
	}
	return -1, fmt.Errorf("etcd has no leader")
}

func (e *etcdStore) clients(n int, leader bool) ([]putter, error) {
	i, err := e.leader()
	if err != nil {
		return nil, err
	}
	if !leader {
		i = (i + 1) % busVoters
	}
	c, err := e.client(e.urls[i])
	if err != nil {
		return nil, err
	}
	put := func(ctx context.Context, key string, value []byte) error {
		_, err := c.Put(ctx, key, string(value))
		return err
	}
	return slices.Repeat([]putter{put}, n), nil
}
