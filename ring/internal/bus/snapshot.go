package bus

import (
	"cmp"
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"time"
)

// Encode writes the whole state; equal states give equal bytes.
func (s *State) Encode() []byte {
	b := make([]byte, 0, 256+s.bytes+s.bytes/8)
	version := byte(firstFormat)
	if s.roster != nil || s.seed != nil {
		version = format
	}
	b = append(b, version)
	u := func(n ...uint64) {
		for _, n := range n {
			b = binary.AppendUvarint(b, n)
		}
	}
	u(s.applied, s.term)
	b = append(b, s.chain[:]...)
	e := &s.epoch
	u(s.fence, e.Number, uint64(e.Dropper), uint64(e.Boot), e.Lap, e.Base, e.Limit, s.viewRev, s.votersAt)

	u(uint64(len(s.keys)))
	for _, k := range slices.Sorted(maps.Keys(s.keys)) {
		v := s.keys[k]
		b = appendBytes(appendBytes(b, k), v.Value)
		u(v.Created, v.Modified)
	}
	u(uint64(len(s.leases)))
	for _, l := range s.Leases() {
		b = appendBytes(b, l.Name)
		u(uint64(l.Holder), uint64(l.Life), l.Fence, uint64(l.TTL), l.Granted, l.Renewed)
	}
	u(uint64(s.members.known))
	for i := range s.members.rows {
		if m := s.members.get(uint32(i)); m != (Member{}) {
			u(uint64(i), uint64(m.State), uint64(m.Incarnation))
		}
	}
	u(uint64(len(s.logs)))
	for _, i := range slices.Sorted(maps.Keys(s.logs)) {
		u(uint64(i), uint64(s.logs[i].Generation), uint64(s.logs[i].Boot))
	}
	u(uint64(len(s.sessions)))
	for _, i := range slices.Sorted(maps.Keys(s.sessions)) {
		u(uint64(i), uint64(len(s.sessions[i])))
		for _, ses := range s.sessions[i] {
			u(uint64(ses.life), ses.low, uint64(len(ses.done)))
			for _, seq := range slices.Sorted(maps.Keys(ses.done)) {
				r := ses.done[seq]
				u(seq)
				b = append(b, byte(r.Kind), byte(r.Code))
				u(r.Rev, r.Fence, uint64(r.Holder))
			}
		}
	}
	if version == format {
		b = s.encodeRoster(b)
	}
	return b
}

// ascending tells whether each value is above the one before it.
type ascending[T cmp.Ordered] struct {
	last T
	any  bool
}

func (a *ascending[T]) next(v T) bool {
	up := !a.any || v > a.last
	a.last, a.any = v, true
	return up
}

// Restore reads what Encode wrote; it trusts nothing in it. Every list must be in
// the order that Encode writes, so that nothing can be in it twice.
func Restore(b []byte) (*State, error) {
	r := reader{rest: b}
	version := r.byte()
	if version > format {
		return nil, ErrNewer
	}
	s := New()
	s.applied, s.term = r.uint(), r.uint()
	if len(r.rest) < len(s.chain) {
		return nil, ErrMalformed
	}
	r.rest = r.rest[copy(s.chain[:], r.rest):]
	s.fence = r.uint()
	s.epoch = Epoch{
		Number: r.uint(), Dropper: r.u32(), Boot: r.u32(), Lap: r.uint(), Base: r.uint(),
		Limit: r.uint(),
	}
	s.viewRev, s.votersAt = r.uint(), r.uint()
	var keys, leases ascending[string]
	var members, logs, origins ascending[uint32]
	for range r.count(StateMax, 4) {
		k, v := string(r.bytes(KeyMax)), append([]byte(nil), r.bytes(ValueMax)...)
		if !keys.next(k) {
			return nil, ErrMalformed
		}
		s.keys[k] = Entry{Value: v, Created: r.uint(), Modified: r.uint()}
		s.bytes += len(k) + len(v)
	}
	for range r.count(LeasesMax, 7) {
		l := Lease{
			Name: string(r.bytes(KeyMax)), Holder: r.u32(), Life: r.u32(), Fence: r.uint(),
			TTL: time.Duration(r.uint()), Granted: r.uint(), Renewed: r.uint(),
		}
		if !leases.next(l.Name) {
			return nil, ErrMalformed
		}
		s.leases[l.Name] = l
	}
	for range r.count(indexMax, 3) {
		i, state, incarnation := r.u32(), r.u32(), r.u32()
		m := Member{State: uint8(state), Incarnation: incarnation}
		if !members.next(i) || i >= indexMax || state > math.MaxUint8 || m == (Member{}) {
			return nil, ErrMalformed
		}
		s.members.set(i, m)
	}
	for range r.count(len(r.rest), 3) {
		i := r.u32()
		if !logs.next(i) {
			return nil, ErrMalformed
		}
		s.logs[i] = Log{Generation: r.u32(), Boot: r.u32()}
	}
	for range r.count(len(r.rest), 2) {
		i := r.u32()
		if !origins.next(i) {
			return nil, ErrMalformed
		}
		for range r.count(sessionsKept, 3) {
			ses := &session{life: r.u32(), low: r.uint(), done: map[uint64]Result{}}
			var seqs ascending[uint64]
			for range r.count(len(r.rest), 6) {
				req := Request{Origin: i, Life: ses.life, Seq: r.uint()}
				if !seqs.next(req.Seq) {
					return nil, ErrMalformed
				}
				ses.done[req.Seq] = Result{
					Req: req, Kind: Kind(r.byte()), Code: Code(r.byte()),
					Rev: r.uint(), Fence: r.uint(), Holder: r.u32(),
				}
			}
			s.sessions[i] = append(s.sessions[i], ses)
		}
	}
	if version == format {
		if err := s.restoreRoster(&r); err != nil {
			return nil, err
		}
	}
	if r.fail || len(r.rest) > 0 || s.bytes > StateMax {
		return nil, ErrMalformed
	}
	return s, nil
}
