package wire

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// everyKind holds one message of each kind with every field set, and the
// zero value of each that has one.
func everyKind() []Msg {
	beat := Beat{
		Seq: 1, Echo: 2, EchoAgeUS: 3, Records: 1 << 30, View: 1<<32 - 1,
		Rank: Rank{Quorum: true, Alive: 11, Min: 1},
		You:  You{Incarnation: 4, State: Left, Boot: 5, Damped: 600},
	}
	particle := &Particle{
		Epoch: Epoch{Number: 3, Counter: 7, Dropper: 10}, Lap: 1 << 40, HeldUS: 999,
		Base: 1<<64 - 5, Limit: 1 << 41, AgeUS: 77,
		SlowStop: 3, SlowUS: 4000, WasStop: 5, WasUS: 6000, Anchored: true, Conf: 12, Voters: 2,
		Stamps: [VotersMax]Stamp{{3, Votes | Stamped}, {RosterMax - 1, Votes | Leaves}},
	}
	aboard := *particle
	aboard.Line = Line{Base: 1 << 50, Chain: 1<<64 - 1}
	aboard.Train = &Train{
		Lap: 1 << 40, Seen: []uint64{0, 3}, Before: []uint64{1 << 63}, SpentUS: 5000,
		Short: &Short{Lap: 1 << 40, Stop: 7, Bytes: TrainMax},
		Level: &Level{Lap: 9, Stop: 4, Epoch: Epoch{Number: 2, Counter: 3, Dropper: 4}, AsLap: 8},
		Riders: []Rider{
			{
				CastID: CastID{Origin: 7, Life: 1 << 61, Seq: 3}, Epoch: Epoch{Number: 3}, Lap: 1 << 40,
				Stop: 7, Folded: 2, Topic: "sum", Payload: []byte("p"), Value: []byte("v"),
			},
			{Large: true, Payload: []byte("name"), Value: []byte{}},
		},
	}
	leveling := *particle
	leveling.Train = &Train{Lap: 1}
	history := History{1, 2, 15: 16}
	record := Record{
		Origin: RosterMax - 1, Incarnation: 300, Seq: 70_000, Boot: 0xdeadbeef, PID: 4_000_000,
		Epoch: Epoch{Number: 1 << 40, Counter: 1 << 50, Dropper: 1<<32 - 1}, Left: true, Out: true, Build: "v1.2.3",
		Accused: []Accusation{{1, 2, true}, {RosterMax - 1, IncarnationMax, false}},
	}
	sealed, least := record, Record{Origin: 1, Build: "v1.2.3"}
	sealed.Seal = Seal{Key: KeyID{1, 7: 8}, Sig: []byte("signature"), Body: RecordBody(nil, &record)}
	least.Seal = Seal{Body: RecordBody(nil, &least)}
	return []Msg{
		&Sealed{Records: []Record{sealed, least}}, &Sealed{},
		&Shown{Records: []Record{least, sealed}}, &Shown{},
		&Show{Marks: []Mark{{1, 2}}}, &Show{},
		&Keys{Chains: [][]byte{[]byte("leaf"), []byte("another")}}, &Keys{},
		&Vouched{
			Relay: Relay{From: 1, To: 2, Relayed: true, Frame: Append(nil, particle)[HeaderLen:]},
			Key:   KeyID{1, 7: 8}, Sig: []byte("signature"),
		},
		&Hello{
			Version: 1, Ring: "prod", Roster: [32]byte{1, 2, 3}, Size: 11, Linked: 4,
			From: 3, To: 10, FromName: "dc1/prod/3", Incarnation: 9, Boot: 8, PID: 7,
			Build: "v1", Was: 7, Floor: 1 << 40, Beat: beat,
		},
		&Refuse{Code: RefuseTaken, Text: "stop the other one: ß"},
		&beat,
		&Flood{Records: []Record{record, {Origin: 1, Build: "v1.2.3"}}},
		&Cut{Marks: []Mark{{1, 2}, {RosterMax - 1, IncarnationMax}}},
		&Sync{Rank: beat.Rank, Down: []Mark{{0, 0}}},
		particle, &aboard, &leveling,
		&Hurry{Epoch: particle.Epoch, Lap: 1 << 40, Stop: RosterMax - 1, Wide: true},
		&Relay{From: 1, To: 2, Relayed: true, Frame: Append(nil, particle)[HeaderLen:]},
		&Relay{From: 1, To: 2, Frame: Append(nil, &Raft{Payload: []byte("vote")})[HeaderLen:]},
		&Bye{Text: "leaving"},
		&Status{
			History: history, Era: 2, Applied: 1 << 40, Log: 3, Yours: 4, Leader: RosterMax, Term: 5,
			Boot: 1<<32 - 1, Blank: true, Young: true,
		},
		&Raft{History: history, Payload: []byte("append")},
		&Propose{History: history, Command: []byte("put")},
		&Ask{History: history, Try: 1<<64 - 1}, &Answer{Try: 1<<64 - 1, Index: 5},
		&Pull{History: history, From: 1 << 40, Want: 7, Offset: 8, State: true},
		&Entries{
			History: history, Era: 1, First: 9,
			Entries: []Entry{{Term: 2, Type: 1, Data: []byte("x")}, {}},
		},
		&Chunk{History: history, Era: 1, Index: 9, Total: 100, Offset: 50, Data: []byte("half")},
		&Cast{
			CastID: CastID{RosterMax - 1, CounterMax, 7}, Topic: "a/ß", Payload: []byte{0, 255},
		},
		&Cast{CastID: CastID{1, 2, 3}, Topic: "t", Payload: []byte{1}, Large: true},
		&Follow{Name: BulkName{1, 31: 2}, Bits: []byte{255, 1}},
		&Holds{Name: BulkName{1, 31: 2}, First: BulkChunks - 1, Bits: []byte{1}},
		&Fetch{Name: BulkName{1, 31: 2}, Chunks: []uint32{0, BulkChunks - 1}},
		&Give{Name: BulkName{1, 31: 2}, Chunk: 7, Size: BulkChunkMax}, &Gone{Name: BulkName{1, 31: 2}},
		&Follow{}, &Holds{}, &Fetch{}, &Give{}, &Gone{},
		&Have{Names: []CastID{{1, 2, 3}, {4, 5, CounterMax}}},
		&Want{Ranges: []CastRange{{1, 2, 3, 4, 0}}},
		&Digest{Ranges: []CastRange{{1, 2, 1, 0, 1}, {3, 4, 5, CounterMax, 4}}, Ask: true},
		&Credit{Bytes: 1 << 40, Waits: true}, &Cast{}, &Have{}, &Want{}, &Digest{}, &Credit{},
		&Cast{
			CastID: CastID{Origin: 1, Life: 1, Seq: 9}, Topic: "load", Question: &Question{
				How: AskEach, First: 7, WaitMS: WaitMax, Only: []uint64{0, 0, 1 << 63, 0, 3},
			},
		},
		&Cast{CastID: CastID{Origin: 1, Life: 1, Seq: 9}, Question: &Question{How: AskReceipt, First: 9}},
		&Part{
			CastID: CastID{Origin: 1, Life: 1, Seq: 9}, Answered: []uint64{5}, Failed: []uint64{0, 8},
			Value: []byte("half of it"), Done: true,
		},
		&Part{},
		&Status{}, &Raft{}, &Propose{}, &Ask{}, &Answer{}, &Pull{}, &Entries{}, &Chunk{},
		&Hello{}, &Refuse{}, &Beat{}, &Flood{}, &Cut{}, &Sync{}, &Particle{}, &Bye{},
	}
}

func TestRoundTrip(t *testing.T) {
	var d Decoder
	for i, m := range everyKind() {
		t.Run(fmt.Sprintf("%d=%T", i, m), func(t *testing.T) {
			buf := Append([]byte("before"), m)
			frame, rest, err := Split(append(buf[len("before"):], "after"...))
			if err != nil || string(rest) != "after" {
				t.Fatalf("Split = rest %q, %v, want %q", rest, err, "after")
			}
			got, err := d.Decode(frame)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, m) {
				t.Errorf("Decode(Append(m)) = %+v, want %+v", got, m)
			}
		})
	}
}

// Every cut of every frame is told apart from a whole one, and trailing bytes
// of a newer peer change nothing.
func TestCutAndLonger(t *testing.T) {
	var d Decoder
	for _, m := range everyKind() {
		buf := Append(nil, m)
		for cut := range buf {
			if _, _, err := Split(buf[:cut]); !errors.Is(err, ErrShort) {
				t.Fatalf("%T: Split of %d bytes: %v, want ErrShort", m, cut, err)
			}
		}
		frame := buf[HeaderLen:]
		for cut := range frame {
			got, err := d.Decode(frame[:cut])
			if h, ok := got.(*Hello); ok && err == nil && h.RosterVersion == 0 && h.Past == nil {
				continue // one of a build that knows no versions of rosters
			}
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("%T: Decode of %d bytes: %v, want ErrMalformed", m, cut, err)
			}
		}
		got, err := d.Decode(append(frame, 0xff, 0xff))
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%T with two bytes more = %+v, %v, want the same message", m, got, err)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	beat := Append(nil, &Beat{})[HeaderLen:]
	beat[1+29] = byte(Left) + 1
	tests := []struct {
		name  string
		frame []byte
		want  error
	}{
		{"nothing", nil, ErrMalformed},
		{"kind zero", []byte{0}, ErrUnknownKind},
		{"kind 200", []byte{200, 1, 2}, ErrUnknownKind},
		{"over the bound", make([]byte, FrameMax+2), ErrTooLong},
		{"beat of no such state", beat, ErrMalformed},
		{"too many marks", []byte{byte(KindCut), 0x81, 0x40}, ErrMalformed},
		{"more marks than bytes", []byte{byte(KindCut), 3, 0, 0, 0}, ErrMalformed},
		{"too many records", []byte{byte(KindFlood), 0x81, 0x08}, ErrMalformed},
		{"index outside", []byte{byte(KindCut), 1, 0x80, 0x80, 0x01, 0}, ErrMalformed},
		{"endless varint", []byte("\x05" + strings.Repeat("\xff", 12)), ErrMalformed},
		{"text over its bound", []byte{byte(KindBye), 0x81, 0x08}, ErrMalformed},
		{"text not UTF-8", []byte{byte(KindBye), 1, 0xff}, ErrMalformed},
		{"relay of nothing", []byte{byte(KindRelay), 1, 2, 0, 0}, ErrMalformed},
		{"relay of a bye", []byte{byte(KindRelay), 1, 2, 0, 2, byte(KindBye), 0}, ErrMalformed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var d Decoder
			if m, err := d.Decode(test.frame); !errors.Is(err, test.want) {
				t.Errorf("Decode = %v, %v, want %v", m, err, test.want)
			}
		})
	}
}

func TestSplitRefuses(t *testing.T) {
	if _, _, err := Split([]byte{0, 0, 0, 0, 1}); !errors.Is(err, ErrMalformed) {
		t.Errorf("Split of an empty frame: %v, want ErrMalformed", err)
	}
	// The header alone is enough to refuse: a browser's "GET " is 1.2 GB.
	for _, header := range []string{"GET ", "\x00\x01\x00\x02"} {
		if _, _, err := Split([]byte(header)); !errors.Is(err, ErrTooLong) {
			t.Errorf("Split(%q): %v, want ErrTooLong", header, err)
		}
	}
	if _, _, err := Split([]byte("\x00\x01\x00\x01")); !errors.Is(err, ErrShort) {
		t.Errorf("Split of the longest header: %v, want ErrShort", err)
	}
}

func TestRecordSize(t *testing.T) {
	for _, m := range everyKind() {
		f, ok := m.(*Flood)
		if !ok {
			continue
		}
		sum := HeaderLen + 1 + 1
		for i := range f.Records {
			sum += RecordSize(&f.Records[i])
		}
		if got := len(Append(nil, f)); got != sum {
			t.Errorf("a Flood of %d records has %d bytes, want %d", len(f.Records), got, sum)
		}
	}
}

// The largest lists the limits allow fit into a frame, whatever is in them.
func TestLongestListsFit(t *testing.T) {
	marks := make([]Mark, MarksMax)
	for i := range marks {
		marks[i] = Mark{RosterMax - 1, IncarnationMax}
	}
	accused := make([]Accusation, AccusedMax)
	for i := range accused {
		accused[i] = Accusation{RosterMax - 1, IncarnationMax, true}
	}
	var d Decoder
	for _, m := range []Msg{
		&Cut{Marks: marks}, &Sync{Down: marks}, &Flood{Records: []Record{{Accused: accused}}},
	} {
		got, err := d.Decode(Append(nil, m)[HeaderLen:])
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("the longest %T does not come back: %v", m, err)
		}
	}
}

func TestAppendCutsTexts(t *testing.T) {
	var d Decoder
	for _, text := range []string{
		strings.Repeat("x", TextMax+1), strings.Repeat("ß", TextMax), "broken \xff here",
	} {
		m, err := d.Decode(Append(nil, &Bye{Text: text})[HeaderLen:])
		if err != nil {
			t.Fatal(err)
		}
		got := m.(*Bye).Text
		if len(got) > TextMax || len(got) < min(len(text), TextMax)-1 || !utf8.ValidString(got) {
			t.Errorf("%d bytes of text came back as %d", len(text), len(got))
		}
	}
}

func TestAppendPanicsOverLimits(t *testing.T) {
	for _, m := range []Msg{
		&Cut{Marks: make([]Mark, MarksMax+1)},
		&Cut{Marks: []Mark{{RosterMax, 0}}},
		&Hello{Ring: strings.Repeat("x", NameMax+1)},
		&Relay{Frame: []byte{byte(KindBye)}},
		&Flood{Records: make([]Record, RecordsMax+1)},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("Append of a %T over its limit did not panic", m)
				}
			}()
			Append(nil, m)
		}()
	}
}

// A Particle or Beat in hand stays what it was when other kinds are decoded.
func TestScratchSurvivesOtherKinds(t *testing.T) {
	var d Decoder
	p, err := d.Decode(Append(nil, &Particle{Lap: 5})[HeaderLen:])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Decode(Append(nil, &Beat{Seq: 1})[HeaderLen:]); err != nil {
		t.Fatal(err)
	}
	if lap := p.(*Particle).Lap; lap != 5 {
		t.Errorf("lap = %d after a beat was decoded, want 5", lap)
	}
}

func TestHopAllocatesNothing(t *testing.T) {
	var d Decoder
	buf := make([]byte, 0, 128)
	for _, m := range []Msg{&Particle{Lap: 1 << 40}, &Beat{Seq: 9, You: You{State: Alive}}} {
		allocs := testing.AllocsPerRun(100, func() {
			buf = Append(buf[:0], m)
			frame, _, err := Split(buf)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := d.Decode(frame); err != nil {
				t.Fatal(err)
			}
		})
		if allocs != 0 {
			t.Errorf("%T there and back: %v allocations, want 0", m, allocs)
		}
	}
}

func BenchmarkParticle(b *testing.B) { benchmarkThereAndBack(b, &Particle{Lap: 1 << 40}) }

func BenchmarkBeat(b *testing.B) { benchmarkThereAndBack(b, &Beat{Seq: 9}) }

func BenchmarkFlood(b *testing.B) {
	benchmarkThereAndBack(b, &Flood{Records: []Record{
		{Origin: 1, Build: "v1.2.3", Accused: []Accusation{{2, 3, true}}},
	}})
}

func benchmarkThereAndBack(b *testing.B, m Msg) {
	var d Decoder
	buf := make([]byte, 0, 128)
	b.ReportAllocs()
	for b.Loop() {
		buf = Append(buf[:0], m)
		frame, _, _ := Split(buf)
		if _, err := d.Decode(frame); err != nil {
			b.Fatal(err)
		}
	}
}
