package wire

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

// Decoding never panics, and what was understood is written and read back the
// same.
func FuzzDecode(f *testing.F) {
	for _, m := range everyKind() {
		f.Add(Append(nil, m)[HeaderLen:])
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		var d, again Decoder
		m, err := d.Decode(frame)
		if err != nil {
			if m != nil {
				t.Fatalf("Decode = %+v and %v, want one of them", m, err)
			}
			return
		}
		if m.Kind() != Kind(frame[0]) {
			t.Fatalf("kind %d came out of a frame of kind %d", m.Kind(), frame[0])
		}
		buf := Append(nil, m)
		back, err := again.Decode(buf[HeaderLen:])
		if err != nil {
			t.Fatalf("%+v does not come back: %v", m, err)
		}
		if !reflect.DeepEqual(back, m) {
			t.Fatalf("%+v came back as %+v", m, back)
		}
		if twice := Append(nil, back); !bytes.Equal(twice, buf) {
			t.Fatalf("written twice: %x and %x", buf, twice)
		}
	})
}

// However the network cuts a stream of frames, the frames are the same.
func FuzzSplit(f *testing.F) {
	f.Add(Append(Append(nil, &Particle{}), &Bye{Text: "leaving"}), 3)
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), 5)
	f.Add([]byte{0, 0, 0, 0}, 1)
	f.Fuzz(func(t *testing.T, stream []byte, cut int) {
		frame, rest, err := Split(stream)
		switch {
		case errors.Is(err, ErrShort):
		case err != nil:
			if frame != nil {
				t.Fatalf("a frame and %v", err)
			}
			return
		case len(frame) == 0 || len(frame) > FrameMax+1:
			t.Fatalf("a frame of %d bytes", len(frame))
		case HeaderLen+len(frame)+len(rest) != len(stream):
			t.Fatalf("%d + %d + %d bytes out of %d", HeaderLen, len(frame), len(rest), len(stream))
		}
		if cut < 0 || cut >= len(stream)-len(rest) || err != nil {
			return
		}
		if _, _, err := Split(stream[:cut]); !errors.Is(err, ErrShort) {
			t.Fatalf("cut at %d: %v, want ErrShort", cut, err)
		}
	})
}
