package ring

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func fast(_ int, c *Config) { c.MaxSpeed = true }

func TestFleetFormsAndTicks(t *testing.T) {
	for _, n := range []int{1, 2, 3, 11} {
		t.Run(fmt.Sprintf("n=%d", n), func(t *testing.T) {
			f := newFleet(t, n, fast)
			f.joined()
			f.seeAllAlive()
			f.ticks(20)
			id := f.rings[0].View().ID
			for i, r := range f.rings {
				await(t, r, "same view", func(v View) bool { return v.ID == id })
				v := r.View()
				if want := f.roster.Names[(i+1)%n]; v.Next != want || v.Instances[i].Next != want {
					t.Errorf("instance %d holds the hand of %s, want %s", i, v.Next, want)
				}
			}
		})
	}
}

// H1: a death is known without waiting for a timeout, and the ring closes.
func TestH1CloseIsSeenAsDeath(t *testing.T) {
	for _, n := range []int{3, 11} {
		t.Run(fmt.Sprintf("n=%d", n), func(t *testing.T) {
			f := newFleet(t, n, fast)
			f.joined()
			f.seeAllAlive()
			f.ticks(5)
			start := time.Now()
			if err := f.rings[1].Close(); err != nil {
				t.Fatalf("Close = %v", err)
			}
			f.sees(1, Dead, 1)
			t.Logf("all know after %v", time.Since(start))
			f.ticks(20, 1)
			await(t, f.rings[0], "ring closed", func(v View) bool {
				return v.Next == f.roster.Names[2%n]
			})
			e := awaitEvent(t, f.rings[0], "died", f.roster.Names[1])
			if !strings.Contains(e.Text, "is dead: ") {
				t.Errorf("the story says %q", e.Text)
			}
			f.restart(1)
			f.sees(1, Alive)
			f.ticks(20)
		})
	}
}

func TestLeaveIsNoDeath(t *testing.T) {
	for _, n := range []int{3, 11} {
		t.Run(fmt.Sprintf("n=%d", n), func(t *testing.T) {
			f := newFleet(t, n, fast)
			f.joined()
			f.seeAllAlive()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := f.rings[2].Leave(ctx); err != nil {
				t.Fatalf("Leave = %v", err)
			}
			f.sees(2, Left, 2)
			f.ticks(20, 2)
			for i, r := range f.rings {
				for _, e := range r.Events(0) {
					if e.Kind == "died" {
						t.Errorf("instance %d tells of a death: %s", i, e.Text)
					}
				}
			}
		})
	}
}

func TestTwoOfElevenDieTogether(t *testing.T) {
	f := newFleet(t, 11, fast)
	f.joined()
	f.seeAllAlive()
	f.rings[4].Close()
	f.rings[5].Close()
	f.sees(4, Dead, 4, 5)
	f.sees(5, Dead, 4, 5)
	f.ticks(20, 4, 5)
}

func TestJoinRefusesBadConfig(t *testing.T) {
	good := Config{
		Ring: "test", Name: "a", Listen: "127.0.0.1:0",
		Roster: Roster{Names: []Name{"a", "b"}, Addresses: []string{"127.0.0.1:1", "127.0.0.1:2"}},
	}
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   error
		says   string
	}{
		{"not in the roster", func(c *Config) { c.Name = "z" }, ErrConfig, "not in the roster"},
		{"negative hold", func(c *Config) { c.Hold = -1 }, ErrConfig, "hold is -1ns"},
		{"torn timing", func(c *Config) { c.Timing.Beat = time.Second }, ErrConfig, "Patience is 0s"},
		{"hold and speed", func(c *Config) { c.Hold, c.MaxSpeed = 1, true }, ErrConfig, "choose one"},
		{"all interfaces", func(c *Config) { c.Listen = ":0" }, ErrInsecure, "--insecure"},
		{"a peer elsewhere", func(c *Config) {
			c.Roster.Addresses = []string{"127.0.0.1:1", "10.0.0.7:3000"}
		}, ErrInsecure, "b at 10.0.0.7:3000"},
		{"data is a file", func(c *Config) { c.Data = "/dev/null" }, ErrData, "data directory"},
		{"no such address", func(c *Config) { c.Listen = "127.0.0.1:70000" }, ErrAddress, "70000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := good
			c.change(&cfg)
			r, err := Join(t.Context(), cfg)
			if err == nil {
				r.Close()
			}
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("Join = %v, want %v that says %q", err, c.want, c.says)
			}
		})
	}
}

func TestAddressTaken(t *testing.T) {
	l := listener(t, "127.0.0.1:0")
	addr := l.Addr().String()
	_, err := Join(t.Context(), Config{
		Ring: "test", Name: "a", Roster: Roster{Names: []Name{"a"}, Addresses: []string{addr}},
	})
	if !errors.Is(err, ErrAddress) || !strings.Contains(err.Error(), "another process listens") {
		t.Errorf("Join = %v, want ErrAddress", err)
	}
}

func TestInsecureIsSaid(t *testing.T) {
	f := newFleet(t, 1, func(_ int, c *Config) { c.Insecure = true })
	if !f.rings[0].Status().Insecure {
		t.Error("Status().Insecure is false")
	}
}

func TestDataBelongsToOne(t *testing.T) {
	dir := t.TempDir()
	f := newFleet(t, 1, func(_ int, c *Config) { c.Data = dir; c.MaxSpeed = true })
	f.joined()
	f.ticks(3)
	_, err := Join(t.Context(), Config{
		Ring: "test", Name: f.roster.Names[0], Roster: f.roster, Listen: "127.0.0.1:0", Data: dir,
	})
	if !errors.Is(err, ErrData) || !strings.Contains(err.Error(), "in use by process") {
		t.Errorf("Join = %v, want ErrData with a pid", err)
	}
	before := f.rings[0].View().Instances[0].Incarnation
	epoch := f.rings[0].Status().Epoch.Number
	f.rings[0].Close()
	f.restart(0)
	f.joined()
	f.ticks(3)
	if after := f.rings[0].View().Instances[0].Incarnation; after <= before {
		t.Errorf("incarnation %d after %d", after, before)
	}
	if after := f.rings[0].Status().Epoch.Number; after < epoch {
		t.Errorf("epoch %d after %d", after, epoch)
	}
	f.rings[0].Close()
	_, err = Join(t.Context(), Config{
		Ring: "another", Name: f.roster.Names[0], Roster: f.roster, Listen: "127.0.0.1:0", Data: dir,
	})
	if !errors.Is(err, ErrData) || !strings.Contains(err.Error(), `of ring "test"`) {
		t.Errorf("Join = %v, want ErrData", err)
	}
}

func TestHandleSharesThePort(t *testing.T) {
	f := newFleet(t, 1, nil)
	r := f.rings[0]
	get := func() (int, string) {
		resp, err := http.Get("http://" + r.Addr().String() + "/hello")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	if code, _ := get(); code != http.StatusServiceUnavailable {
		t.Errorf("before Handle: %d", code)
	}
	r.Handle(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hi") }))
	if code, body := get(); code != http.StatusOK || body != "hi" {
		t.Errorf("after Handle: %d %q", code, body)
	}
}

func TestGarbageOnThePort(t *testing.T) {
	f := newFleet(t, 3, fast)
	f.joined()
	addr := f.rings[0].Addr().String()
	for _, text := range []string{
		"\x00\x01\x02\x03\n\n", "\x16\x03\x01\x02\x00\x01\n\n", "GET / HTTP/9.9\r\n\r\n",
		"GET /v1/link HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: ring/1\r\n\r\n" +
			"\xff\xff\xff\xff",
		"GET /v1/link HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: ring/1\r\n\r\n" +
			"\x00\x00\x00\x02\x07\x07",
	} {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(nc, text)
		nc.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, nc); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%.20q: the connection stays open: %v", text, err)
		}
		nc.Close()
	}
	f.ticks(20)
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	f := newFleet(t, 3, func(i int, c *Config) {
		fast(i, c)
		c.Registerer = reg
	})
	f.joined()
	f.seeAllAlive()
	f.ticks(20)
	problems, err := testutil.GatherAndLint(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, m := range families {
		have[m.GetName()] = true
	}
	for _, name := range []string{
		"ring_laps_total", "ring_lap_seconds", "ring_instances", "ring_frames_total",
		"ring_build_info", "ring_cut_off", "ring_epoch", "ring_tick", "ring_bad_links",
		"ring_anchored", "ring_ticks_skipped_total", "ring_bus_revision", "ring_bus_leader",
		"ring_bus_term", "ring_bus_proposals_total", "ring_bus_commit_seconds",
		"ring_bus_fsync_seconds", "ring_leases_held", "ring_bad_frames_total",
		"ring_broadcast_published_total", "ring_broadcast_delivered_total",
		"ring_broadcast_missed_total", "ring_broadcast_kept_bytes", "ring_broadcast_waiting",
	} {
		if !have[name] {
			t.Errorf("no metric %s", name)
		}
	}
	f.rings[0].Close()
	if n := testutil.CollectAndCount(f.rings[1].metrics, "ring_laps_total"); n != 1 {
		t.Errorf("%d laps metrics, want 1", n)
	}
}

func TestAfterTheEnd(t *testing.T) {
	f := newFleet(t, 1, nil)
	r := f.rings[0]
	if r.Err() != nil {
		t.Errorf("Err = %v while running", r.Err())
	}
	for range 2 {
		if err := r.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	}
	<-r.Done()
	if err := r.Leave(t.Context()); err != nil {
		t.Errorf("Leave after Close = %v", err)
	}
	r.SetPace(time.Second, false)
	r.View()
	r.Status()
	var called atomic.Bool
	r.OnTick(func(Tick) { called.Store(true) })()
	if called.Load() {
		t.Error("a tick after the end")
	}
}

func TestCloseFromACallback(t *testing.T) {
	f := newFleet(t, 1, fast)
	r := f.rings[0]
	r.OnTick(func(Tick) { r.Close() })
	select {
	case <-r.Done():
	case <-time.After(patience):
		t.Fatal("Close from within OnTick hangs")
	}
}

func TestASlowLogHoldsNobodyUp(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	f := newFleet(t, 3, func(i int, c *Config) {
		fast(i, c)
		c.Logger = slog.New(slog.NewTextHandler(stuck(release), nil))
	})
	f.seeAllAlive()
	f.ticks(20)
}

// stuck is a log file on a pipe that nobody reads.
type stuck chan struct{}

func (s stuck) Write(b []byte) (int, error) {
	<-s
	return len(b), nil
}

// Two processes of one name: the one that comes second ends and says why, the
// ring goes on.
func TestSecondOfOneNameEnds(t *testing.T) {
	f := newFleet(t, 3, fast)
	f.joined()
	f.seeAllAlive()
	second, err := Join(t.Context(), Config{
		Ring: "test", Name: f.roster.Names[0], Roster: f.roster,
		Listener: listener(t, "127.0.0.1:0"), MaxSpeed: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := second.Joined(ctx); !errors.Is(err, ErrTaken) {
		t.Errorf("Joined = %v, want ErrTaken\n%s", err, story(second))
	}
	for i, r := range f.rings {
		if r.Err() != nil {
			t.Errorf("instance %d ended too: %v", i, r.Err())
		}
	}
	f.seeAllAlive()
	f.ticks(20)
}

// R1: other rosters and other rings are refused, and both sides say why.
func TestR1StrangersAreRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Config)
	}{
		{"roster", func(c *Config) {
			c.Roster.Names = append([]Name{"dc9/other/0"}, c.Roster.Names[1:]...)
			c.Name = c.Roster.Names[2]
		}},
		{"ring", func(c *Config) { c.Ring = "another" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFleet(t, 3, func(i int, cfg *Config) {
				fast(i, cfg)
				if i == 2 {
					c.change(cfg)
				}
			})
			for _, r := range f.rings {
				refused := make(chan Event, 1)
				stop := r.OnEvent(0, func(e Event) {
					if e.Kind == "refused" {
						select {
						case refused <- e:
						default:
						}
					}
				})
				select {
				case e := <-refused:
					t.Log(e.Instance, "says:", e.Text)
				case <-time.After(patience):
					t.Errorf("no refusal is told\n%s", story(r))
				}
				stop()
			}
			f.rings[2].Close()
			f.rings[0].Joined(t.Context())
			await(t, f.rings[0], "two are a ring", func(v View) bool {
				return v.Instances[1].State == Alive
			})
		})
	}
}

// Half of the ring at once, and then all of it: the rest closes, and forms
// again when they come back.
func TestHalfDiesAndAllRestart(t *testing.T) {
	f := newFleet(t, 7, fast)
	f.joined()
	f.seeAllAlive()
	for i := range 3 {
		f.rings[2*i].Close()
	}
	for i := range 3 {
		f.sees(2*i, Dead, 0, 2, 4)
	}
	f.ticks(20, 0, 2, 4)
	for _, r := range f.rings {
		r.Close()
	}
	for i := range f.rings {
		f.restart(i)
	}
	f.joined()
	f.seeAllAlive()
	f.ticks(20)
}
