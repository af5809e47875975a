package journal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"ringofservers.dev/ring/internal/consensus"
)

var self = Owner{Ring: "fleet", Instance: "dc1/prod/0"}

func entry(index, term uint64, data []byte) *raftpb.Entry {
	return &raftpb.Entry{Index: &index, Term: &term, Data: data}
}

func hard(term, vote, commit uint64) *raftpb.HardState {
	return &raftpb.HardState{Term: &term, Vote: &vote, Commit: &commit}
}

func snapshot(index, term uint64, data []byte) *raftpb.Snapshot {
	return &raftpb.Snapshot{
		Data: data,
		Metadata: &raftpb.SnapshotMetadata{
			Index: &index, Term: &term, ConfState: &raftpb.ConfState{Voters: []uint64{1, 2, 3}},
		},
	}
}

func differ(got, want *consensus.Saved) string {
	switch {
	case got.Identity != want.Identity:
		return fmt.Sprintf("identity %v, want %v", got.Identity, want.Identity)
	case !proto.Equal(got.Hard, want.Hard):
		return fmt.Sprintf("hard state %v, want %v", got.Hard, want.Hard)
	case !proto.Equal(got.Snapshot, want.Snapshot):
		return fmt.Sprintf("snapshot %v, want %v", got.Snapshot, want.Snapshot)
	case len(got.Entries) != len(want.Entries):
		return fmt.Sprintf("%d entries, want %d", len(got.Entries), len(want.Entries))
	}
	for i, e := range want.Entries {
		if !proto.Equal(got.Entries[i], e) {
			return fmt.Sprintf("entry %v, want %v", got.Entries[i], e)
		}
	}
	return ""
}

// author makes up writes that follow each other, and applies them.
type author struct {
	rng  *rand.Rand
	term uint64
	done consensus.Saved
}

func newAuthor(seed uint64) *author {
	return &author{rng: rand.New(rand.NewPCG(seed, 1)), term: 1}
}

func (a *author) bytes(most int) []byte {
	b := make([]byte, a.rng.IntN(most))
	for i := range b {
		b[i] = byte(a.rng.Uint32())
	}
	return b
}

func (a *author) batch(t *testing.T) []consensus.Write {
	ws := make([]consensus.Write, a.rng.IntN(5))
	for i := range ws {
		ws[i] = a.write(t)
	}
	return ws
}

func (a *author) write(t *testing.T) (w consensus.Write) {
	t.Helper()
	rng := a.rng
	a.term += uint64(rng.IntN(8) / 7)
	if rng.IntN(40) == 0 {
		w.Identity = &consensus.Identity{
			Era: rng.Uint32N(9), ID: consensus.NewRaftID(3, rng.Uint32()),
			Grown: rng.IntN(2) == 0,
		}
		w.Identity.History[rng.IntN(16)] = byte(rng.Uint32())
	}
	if rng.IntN(25) == 0 {
		w.Snapshot = a.snapshot()
	}
	if rng.IntN(3) == 0 {
		w.Hard = hard(a.term, rng.Uint64N(5), rng.Uint64N(1000))
	}
	now := a.done.Clone()
	if err := now.Apply(&w); err != nil {
		t.Fatal(err)
	}
	base := now.Snapshot.GetMetadata().GetIndex()
	if n := rng.IntN(8); n > 0 {
		first := base + uint64(len(now.Entries)) + 1
		if rng.IntN(5) == 0 { // over what is there, or what a snapshot overtook
			first -= min(first-1, rng.Uint64N(6))
		}
		for i := range uint64(n) {
			w.Entries = append(w.Entries, entry(first+i, a.term, a.bytes(1+rng.IntN(400))))
		}
	}
	if err := a.done.Apply(&w); err != nil {
		t.Fatal(err)
	}
	return w
}

// snapshot is one within the log or beyond it, of its past or of another.
func (a *author) snapshot() *raftpb.Snapshot {
	base := a.done.Snapshot.GetMetadata().GetIndex()
	index := base + uint64(a.rng.IntN(len(a.done.Entries)+3))
	index -= min(index, a.rng.Uint64N(3))
	term := a.term
	if at := index - base; index > base && at <= uint64(len(a.done.Entries)) && a.rng.IntN(4) > 0 {
		term = a.done.Entries[at-1].GetTerm()
	}
	return snapshot(index, term, a.bytes(3000))
}

// small sizes have a log grow and be renewed within a few writes.
var small = sizes{room: 3000, slack: 20000}

func mustOpen(t *testing.T, d disk, want *consensus.Saved) *Journal {
	t.Helper()
	j, got, err := open(d, "bus", self, small)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	if diff := differ(&got, want); diff != "" {
		t.Fatalf("open: %s", diff)
	}
	return j
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// seeds runs f that often, or a tenth of it under the race detector, which finds nothing
// in one goroutine: CI runs them all without.
func seeds(t *testing.T, n uint64, f func(t *testing.T, seed uint64)) {
	if raced {
		n = (n + 9) / 10
	}
	for seed := range n {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { f(t, seed) })
	}
}

// What Open returns is what Saved.Apply makes of all writes, through real files,
// closed in order or not.
func TestReopened(t *testing.T) {
	seeds(t, 12, func(t *testing.T, seed uint64) {
		dir, a := t.TempDir(), newAuthor(seed)
		for range 12 {
			j, got, err := Open(dir, self)
			must(t, err)
			if diff := differ(&got, &a.done); diff != "" {
				t.Fatal(diff)
			}
			for range a.rng.IntN(10) {
				must(t, j.Append(a.batch(t)))
			}
			if a.rng.IntN(2) == 0 {
				must(t, j.release())
			} else {
				must(t, j.Close())
			}
		}
		names, err := filepath.Glob(filepath.Join(dir, busDir, "*"))
		must(t, err)
		if len(names) > 2 {
			t.Errorf("more is left than a log and a snapshot: %v", names)
		}
	})
}

// Power goes, or the process is killed, at any call that changes the disk: what
// was acknowledged is there, and of the Append under way all or nothing.
func TestCrashes(t *testing.T) {
	seeds(t, 300, func(t *testing.T, seed uint64) {
		a, d := newAuthor(seed), newMemDisk()
		before := a.done.Clone()
		for range 25 {
			d.calls, d.failAt, d.failure = 0, 1+a.rng.IntN(40), errPower
			before = untilCrash(t, a, d, before)
			if a.rng.IntN(4) == 0 {
				d = d.kill()
			} else {
				d = d.lose(a.rng)
			}
		}
	})
}

// untilCrash opens what a crash left and appends until the next one; before is
// what was acknowledged, a.done what was under way too. What it returns is
// acknowledged.
func untilCrash(t *testing.T, a *author, d *memDisk, before *consensus.Saved) *consensus.Saved {
	t.Helper()
	j, got, err := open(d, "bus", self, small)
	if errors.Is(err, errPower) {
		return before
	}
	must(t, err)
	if differ(&got, before) != "" {
		if diff := differ(&got, &a.done); diff != "" {
			t.Fatalf("neither what was acknowledged (%s) nor what was asked for (%s)",
				differ(&got, before), diff)
		}
	}
	a.done = got
	for {
		before = a.done.Clone()
		if err := j.Append(a.batch(t)); err != nil {
			if !errors.Is(err, errPower) {
				t.Fatal(err)
			}
			return before
		}
	}
}

// After any call that fails, the journal takes no more, and the next process
// finds what was acknowledged.
func TestFullDisk(t *testing.T) {
	for failAt := 1; ; failAt++ {
		a, d := newAuthor(7), newMemDisk()
		j := mustOpen(t, d, &a.done)
		d.calls, d.failAt, d.failure = 0, failAt, syscall.ENOSPC
		var err error
		before := a.done.Clone()
		for i := 0; i < 60 && err == nil; i++ {
			before = a.done.Clone()
			err = j.Append(a.batch(t))
		}
		if err == nil {
			if failAt < 50 {
				t.Fatalf("only %d calls failed", failAt)
			}
			return
		}
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "make room") {
			t.Fatalf("Append = %v, want ENOSPC and a remedy", err)
		}
		calls := d.calls
		if err := j.Append([]consensus.Write{{Hard: hard(1, 1, 1)}}); !errors.Is(err, ErrBroken) ||
			!errors.Is(err, syscall.ENOSPC) || d.calls != calls {
			t.Fatalf("Append after an error = %v, and it touched the disk %d times",
				err, d.calls-calls)
		}
		must(t, j.Close())
		untilCrash(t, a, crashing(d.kill()), before)
	}
}

func crashing(d *memDisk) *memDisk {
	d.failAt, d.failure = 10, errPower
	return d
}

func TestAppendRefusesWhatOpenCouldNotRead(t *testing.T) {
	for name, w := range map[string]consensus.Write{
		"gap":            {Entries: []*raftpb.Entry{entry(2, 1, nil)}},
		"gap inside":     {Entries: []*raftpb.Entry{entry(1, 1, nil), entry(3, 1, nil)}},
		"large entry":    {Entries: []*raftpb.Entry{entry(1, 1, make([]byte, payloadMax))}},
		"large snapshot": {Snapshot: snapshot(1, 1, make([]byte, snapshotMax))},
	} {
		d := newMemDisk()
		j := mustOpen(t, d, &consensus.Saved{})
		calls := d.calls
		if err := j.Append([]consensus.Write{w}); !errors.Is(err, errRefused) || d.calls != calls {
			t.Errorf("%s: Append = %v after %d calls", name, err, d.calls-calls)
		}
		mustOpen(t, d, &consensus.Saved{})
	}
}

func TestLargestOfAll(t *testing.T) {
	dir, want := t.TempDir(), consensus.Saved{}
	ws := []consensus.Write{
		{Snapshot: snapshot(9, 1, make([]byte, snapshotMax-1024))},
		{Entries: []*raftpb.Entry{entry(10, 1, bytes.Repeat([]byte{1}, 64<<10))}},
	}
	for i := range ws {
		must(t, want.Apply(&ws[i]))
	}
	j, _, err := Open(dir, self)
	must(t, err)
	must(t, j.Append(ws))
	must(t, j.Close())
	j, got, err := Open(dir, self)
	must(t, err)
	if diff := differ(&got, &want); diff != "" {
		t.Error(diff[:100])
	}
	must(t, j.Close())
}

// One write and one sync make an Append, and most of what is void goes.
func TestLogStaysShort(t *testing.T) {
	d := newMemDisk()
	j := mustOpen(t, d, &consensus.Saved{})
	data := make([]byte, 1000)
	renewed := 0
	for i := range uint64(2000) {
		calls, size, generation := d.calls, j.size, j.generation
		must(t, j.Append([]consensus.Write{{
			Hard: hard(i, 1, i), Entries: []*raftpb.Entry{entry(1+i%100, i, data)},
		}}))
		if n := d.calls - calls; j.size == size && n != 2 {
			t.Fatalf("%d calls for one Append", n)
		}
		if j.generation != generation {
			renewed++
		}
		if most := 2*100*1100 + small.slack + small.room; j.size > most {
			t.Fatalf("log of %d bytes, at most %d are expected", j.size, most)
		}
	}
	if renewed < 3 {
		t.Errorf("the log was renewed %d times", renewed)
	}
	want := j.state.Clone()
	must(t, j.Close())
	mustOpen(t, d, want)
}

// What is needed is kept however long it gets, without being written again.
func TestLongLogGrows(t *testing.T) {
	d := newMemDisk()
	j := mustOpen(t, d, &consensus.Saved{})
	data := make([]byte, 60<<10)
	for i := range uint64(300) {
		must(t, j.Append([]consensus.Write{{Entries: []*raftpb.Entry{entry(1+i, 1, data)}}}))
	}
	if j.generation != 1 {
		t.Errorf("the log was renewed %d times, with nothing void in it", j.generation-1)
	}
	mustOpen(t, d.kill(), j.state.Clone())
}

func TestSetAside(t *testing.T) {
	dir := t.TempDir()
	if _, err := SetAside(dir); err == nil {
		t.Error("SetAside of nothing succeeded")
	}
	for _, want := range []string{"bus.corrupt-1", "bus.corrupt-2"} {
		j, _, err := Open(dir, self)
		must(t, err)
		must(t, j.Append([]consensus.Write{{Hard: hard(1, 2, 3)}}))
		must(t, j.Close())
		where, err := SetAside(dir)
		must(t, err)
		if where != filepath.Join(dir, want) {
			t.Errorf("SetAside = %s, want %s", where, want)
		}
		if _, err := os.Stat(filepath.Join(where, logFile)); err != nil {
			t.Error(err)
		}
	}
	j, got, err := Open(dir, self)
	must(t, err)
	if got.Hard != nil {
		t.Errorf("after SetAside Open = %v", got)
	}
	must(t, j.Close())
}

func TestClosed(t *testing.T) {
	j := mustOpen(t, newMemDisk(), &consensus.Saved{})
	must(t, j.Close())
	if err := j.Append([]consensus.Write{{Hard: hard(1, 2, 3)}}); !errors.Is(err, ErrBroken) {
		t.Errorf("Append after Close = %v", err)
	}
}
