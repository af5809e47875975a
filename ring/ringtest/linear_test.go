package ringtest

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"ringofservers.dev/ring/internal/bus"
	"ringofservers.dev/ring/internal/wire"
)

// judgeTime bounds the search for one key: what it cannot decide by then counts
// as undecided, not as broken.
const judgeTime = 20 * time.Second

// cell is one key: its value and the revision that wrote it; both 0 without
// one. A revision that nobody was told is unknown.
type cell struct{ value, rev uint64 }

const unknown = uint64(math.MaxUint64)

// is reports whether the key may be at that revision.
func (c cell) is(rev uint64) bool { return c.rev == rev || c.rev == unknown && rev != 0 }

// register is what a key of the bus promises, one operation after the other.
var register = porcupine.Model{
	Init: func() any { return cell{} },
	Step: func(state, input, _ any) (bool, any) { return step(state.(cell), input.(*op)) },
	DescribeOperation: func(input, _ any) string {
		return fmt.Sprintf("%+v", *input.(*op))
	},
}

func step(c cell, o *op) (bool, cell) {
	known := o.back > 0
	if o.kind == opRead {
		return c.value == o.read && c.is(o.rev), c
	}
	holds := true
	switch {
	case o.kind == opSwap && o.old == 0:
		holds = c.rev == 0
	case o.kind != opPut && o.old > 0:
		holds = c.is(o.old)
	}
	switch {
	case !holds || o.kind == opRemove && c.rev == 0: // it changes nothing
		if !known {
			return true, c
		}
		want := bus.Conflict
		if holds {
			want = bus.Gone
		}
		return o.code == want && (want == bus.Gone || c.is(o.rev) || c.rev == 0 && o.rev == 0), c
	case known && o.code == bus.Conflict && c.rev == unknown && c.is(o.rev):
		return true, c // it was another revision than asked for
	case known && o.code != bus.Done:
		return false, c
	case o.kind == opRemove:
		return true, cell{}
	case o.rev == 0:
		return true, cell{o.value, unknown}
	}
	return true, cell{o.value, o.rev}
}

// judge is S1 for those who use the bus: what they saw of each key could have
// been one operation after the other. A history that begins anew, after all was
// lost, is judged by itself.
func judge(w *World) {
	byKey := map[wire.History]*[clientKeys][]*op{}
	var order []wire.History
	for i := range w.ops {
		o := &w.ops[i]
		if o.refused || o.back == 0 && o.kind == opRead {
			continue
		}
		if byKey[o.history] == nil {
			byKey[o.history] = &[clientKeys][]*op{}
			order = append(order, o.history)
		}
		keys := byKey[o.history]
		keys[o.key] = append(keys[o.key], o)
	}
	// Of a process that knew no history yet and was not waited for: in any.
	stray := byKey[wire.History{}]
	for _, h := range order {
		for key, ops := range byKey[h] {
			if stray != nil && h != (wire.History{}) {
				ops = slices.Concat(ops, stray[key])
			}
			if porcupine.CheckOperationsTimeout(register, operations(ops), judgeTime) == porcupine.Illegal {
				w.fail("S1", "what clients saw of %s in history %x is not linearizable:%s",
					keyName(key), h[:4], opsText(ops))
			}
		}
	}
}

// operations are those of one key for porcupine. What became of a write that was
// not answered is known all the same if somebody has read it; one that left no
// trace is left out, for it may as well have been the last.
func operations(ops []*op) []porcupine.Operation {
	written := map[uint64]uint64{} // value: revision
	told := map[uint64]bool{}      // revisions that somebody was told
	removed := int64(0)            // when something was last removed, whatever it was
	for _, o := range ops {
		if o.kind == opRemove && o.old == 0 && o.back > 0 && o.code == bus.Done {
			removed = max(removed, o.back)
		}
		switch {
		case o.kind == opRead && o.read > 0:
			written[o.read] = o.rev
		case o.back > 0 && o.code == bus.Done && o.value > 0:
			written[o.value] = o.rev
		case o.back > 0 && o.rev > 0:
			told[o.rev] = true
		}
	}
	for _, rev := range written {
		delete(told, rev)
	}
	var out []porcupine.Operation
	for _, o := range ops {
		back := o.back
		if back == 0 {
			rev, seen := written[o.value]
			if !seen && o.kind != opRemove && len(told) == 0 && removed < o.call {
				continue
			}
			known := *o
			known.rev = rev
			o, back = &known, math.MaxInt64
		}
		out = append(out, porcupine.Operation{
			ClientId: int(o.client), Input: o, Call: o.call, Return: back,
		})
	}
	return out
}

func opsText(ops []*op) string {
	text := ""
	for _, o := range ops {
		name := [...]string{"read", "put", "swap", "remove"}[o.kind]
		text += fmt.Sprintf("\n\t%s..%s client %d %s", stamp(o.call), stamp(o.back), o.client, name)
		if o.kind != opRead {
			text += fmt.Sprintf(" value %d if at %d: code %d", o.value, o.old, o.code)
		}
		text += fmt.Sprintf(" → value %d revision %d", o.read, o.rev)
	}
	return text
}

// TestS1Judge is that the judge of others can tell: what it accepts and what not.
func TestS1Judge(t *testing.T) {
	put := func(call, back int64, value, rev uint64) op {
		return op{kind: opPut, call: call, back: back, value: value, rev: rev}
	}
	read := func(call, back int64, value, rev uint64) op {
		return op{kind: opRead, call: call, back: back, read: value, rev: rev}
	}
	swap := func(call, back int64, value, old, rev uint64, code bus.Code) op {
		return op{kind: opSwap, call: call, back: back, value: value, old: old, rev: rev, code: code}
	}
	for _, row := range []struct {
		name string
		ops  []op
		ok   bool
	}{
		{"a write and a read of it", []op{put(1, 2, 1, 5), read(3, 4, 1, 5)}, true},
		{"an old value", []op{put(1, 2, 1, 5), put(3, 4, 2, 6), read(5, 6, 1, 5)}, false},
		{"a lost write", []op{put(1, 2, 1, 5), read(3, 4, 0, 0)}, false},
		{"the same write at another revision", []op{put(1, 2, 1, 5), read(3, 4, 1, 7)}, false},
		{"unknown, and done", []op{put(1, 0, 1, 0), read(3, 4, 1, 5)}, true},
		{"unknown, and not done", []op{put(1, 0, 1, 0), read(3, 4, 0, 0)}, true},
		{"unknown, done twice", []op{
			put(1, 0, 1, 0), put(3, 4, 2, 6), read(5, 6, 1, 5),
			read(7, 8, 2, 6),
		}, false},
		{"a swap on what was there", []op{put(1, 2, 1, 5), swap(3, 4, 2, 5, 6, bus.Done)}, true},
		{"two swaps on one revision", []op{
			put(1, 2, 1, 5), swap(3, 4, 2, 5, 6, bus.Done),
			swap(3, 5, 3, 5, 7, bus.Done),
		}, false},
		{"a swap refused for nothing", []op{put(1, 2, 1, 5), swap(3, 4, 2, 5, 5, bus.Conflict)}, false},
		{"a swap refused for an unknown write", []op{
			put(1, 2, 1, 5), put(2, 0, 2, 0),
			swap(3, 4, 3, 5, 9, bus.Conflict),
		}, true},
		{"a removal of what is not there", []op{
			{kind: opRemove, call: 1, back: 2, code: bus.Gone},
		}, true},
		{"a removal", []op{
			put(1, 2, 1, 5),
			{kind: opRemove, call: 3, back: 4, old: 5},
			read(5, 6, 0, 0),
		}, true},
		{"a read of what was removed", []op{
			put(1, 2, 1, 5),
			{kind: opRemove, call: 3, back: 4, old: 5},
			read(5, 6, 1, 5),
		}, false},
	} {
		w := &World{ops: slices.Clone(row.ops)}
		judge(w)
		if got := w.failure == nil; got != row.ok {
			t.Errorf("%s: accepted %v, want %v", row.name, got, row.ok)
		}
	}
}
