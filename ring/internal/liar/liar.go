// Package liar is a member gone bad, over real sockets: it bends what an honest instance
// sends, and invents more. It holds that instance's own key and no other. Programs have it
// only where they are built with the tag liar:
//
//	go build -tags liar -o ring-liar ./cmd/ring
//	RING_LIES=all ring-liar node --tls DIR …
//
// The lies are those of ring/ringtest, where virtual time plays them by the thousand; this
// is for showing that sockets, TLS and the disk change nothing about that.
package liar

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"ringofservers.dev/ring/internal/wire"
)

// Config is what a liar has.
type Config struct {
	Self int
	N    func() int // instances of the roster
	Ring string
	Sign func(message []byte) (chain, sig []byte)
	Lies []string // see Parse
	Rand *rand.Rand
}

var all = []string{"accuse", "names", "verdict", "beats", "mutate", "replay", "relay", "particle", "flood"}

// Parse reads a list such as accuse,names; all stands for all.
func Parse(list string) (lies []string, err error) {
	for name := range strings.SplitSeq(list, ",") {
		switch {
		case name == "all":
			lies = append(lies, all...)
		case slices.Contains(all, name):
			lies = append(lies, name)
		default:
			return nil, fmt.Errorf("lie %q is unknown; there are all, %s", name, strings.Join(all, ", "))
		}
	}
	return lies, nil
}

// Liar bends frames. It is not safe for concurrent use.
type Liar struct {
	cfg  Config
	dec  wire.Decoder
	mine wire.Record // as the honest instance says it
	seq  uint32
	seen [][]byte // frames, to be sent again
	inc  map[int]uint32
}

// New returns a liar.
func New(cfg Config) *Liar { return &Liar{cfg: cfg, inc: map[int]uint32{}} }

// seenMax is how many frames are kept.
const seenMax = 64

// Bend returns what goes out in place of a frame, header and all; frame is its caller's
// again when it has returned.
func (l *Liar) Bend(frame []byte) (out [][]byte) {
	body, _, err := wire.Split(frame)
	if err != nil {
		return [][]byte{frame}
	}
	m, err := l.dec.Decode(body)
	if err != nil {
		return [][]byte{frame}
	}
	l.remember(frame)
	switch m := m.(type) {
	case *wire.Sealed:
		for i := range m.Records {
			r := &m.Records[i]
			l.inc[int(r.Origin)] = max(l.inc[int(r.Origin)], r.Incarnation)
			if int(r.Origin) == l.cfg.Self && r.Seq >= l.mine.Seq {
				l.mine = *r
				l.mine.Accused, l.mine.Seal = slices.Clone(r.Accused), wire.Seal{}
			}
		}
	case *wire.Beat:
		if slices.Contains(l.cfg.Lies, "beats") {
			m.Rank = wire.Rank{Quorum: true, Alive: 1 << 14}
			m.You = wire.You{Incarnation: m.You.Incarnation + 1000, State: wire.Down, Boot: 7, Damped: 1<<16 - 1}
		}
		out = append(out, wire.Append(nil, m))
		for range l.times() {
			out = append(out, l.lie()...)
		}
		return out
	}
	return [][]byte{frame}
}

func (l *Liar) times() int {
	if slices.Contains(l.cfg.Lies, "flood") && l.cfg.Rand.IntN(4) == 0 {
		return 500
	}
	return 1
}

func (l *Liar) remember(frame []byte) {
	if len(l.seen) < seenMax {
		l.seen = append(l.seen, slices.Clone(frame))
		return
	}
	l.seen[l.cfg.Rand.IntN(seenMax)] = slices.Clone(frame)
}

// other is somebody else.
func (l *Liar) other() int {
	if n := l.cfg.N(); n > 1 {
		return (l.cfg.Self + 1 + l.cfg.Rand.IntN(n-1)) % n
	}
	return l.cfg.Self
}

func (l *Liar) sealed(r wire.Record) (keys *wire.Keys, _ wire.Record) {
	body := wire.RecordBody(nil, &r)
	chain, sig := l.cfg.Sign(wire.RecordText(nil, l.cfg.Ring, body))
	r.Seal = wire.Seal{Key: wire.KeyOf(chain), Sig: sig, Body: body}
	return &wire.Keys{Chains: [][]byte{chain}}, r
}

// lie is one that nobody has asked for.
func (l *Liar) lie() [][]byte {
	if l.mine.Incarnation == 0 {
		return nil // not in the ring yet
	}
	v := l.other()
	r := l.mine
	l.seq++
	r.Seq += 1<<20 + l.seq
	var list []wire.Msg
	switch l.cfg.Lies[l.cfg.Rand.IntN(len(l.cfg.Lies))] {
	case "accuse":
		r.Accused = []wire.Accusation{{Subject: uint32(v), Incarnation: l.inc[v], Proof: true}}
		keys, r := l.sealed(r)
		list = append(list, keys, &wire.Sealed{Records: []wire.Record{r}})
	case "names":
		r.Origin, r.Incarnation, r.Left = uint32(v), l.inc[v]+1, true
		keys, r := l.sealed(r)
		list = append(list, keys, &wire.Sealed{Records: []wire.Record{r}})
	case "verdict":
		marks := []wire.Mark{{Subject: uint32(v), Incarnation: l.inc[v]}}
		r.Accused = []wire.Accusation{{Subject: uint32(v), Incarnation: l.inc[v]}}
		keys, r := l.sealed(r)
		list = append(list, &wire.Cut{Marks: marks}, &wire.Sync{Rank: wire.Rank{Quorum: true, Alive: 1 << 14}, Down: marks},
			keys, &wire.Shown{Records: []wire.Record{r}}, &wire.Cut{Marks: marks})
	case "relay":
		inner := wire.Append(nil, &wire.Raft{Payload: []byte("a vote")})[wire.HeaderLen:]
		m := wire.Relay{From: uint32(v), To: uint32(l.other()), Relayed: true, Frame: inner}
		chain, sig := l.cfg.Sign(wire.RelayText(nil, l.cfg.Ring, &m))
		list = append(list, &wire.Keys{Chains: [][]byte{chain}}, &wire.Vouched{Relay: m, Key: wire.KeyOf(chain), Sig: sig})
	case "particle":
		list = append(list, &wire.Particle{
			Epoch: wire.Epoch{Number: wire.CounterMax >> l.cfg.Rand.IntN(60)}, Lap: wire.CounterMax >> 8,
			Limit: wire.CounterMax, Anchored: true,
		})
	case "replay":
		return [][]byte{l.seen[l.cfg.Rand.IntN(len(l.seen))]}
	case "mutate":
		bad := slices.Clone(l.seen[l.cfg.Rand.IntN(len(l.seen))])
		switch wire.Kind(bad[wire.HeaderLen]) {
		case wire.KindStatus, wire.KindRaft, wire.KindChunk, wire.KindEntries:
			return nil // what the bus is, any member may say: see SECURITY.md
		}
		if n := len(bad) - wire.HeaderLen; n > 1 {
			bad[wire.HeaderLen+1+l.cfg.Rand.IntN(n-1)] ^= byte(1 + l.cfg.Rand.IntN(255))
		}
		return [][]byte{bad}
	}
	out := make([][]byte, 0, len(list))
	for _, m := range list {
		out = append(out, wire.Append(nil, m))
	}
	return out
}
