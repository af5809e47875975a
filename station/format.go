package station

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"ringofservers.dev/ring"
)

// Format is how a passenger is put into a line, and what the answer means.
type Format string

// The formats; see the package's comment.
const (
	Text Format = "text"
	JSON Format = "json"
)

// lineMax bounds in bytes a line that a filter writes: a passenger whose payload and value
// are of the greatest size is a third of it in JSON.
const lineMax = 64 << 10

// errStray is wrapped by what answer fails with where the line answers something else, or
// nothing: whoever wrote it cannot be asked again.
var errStray = errors.New("its answer is none")

// errLong is wrapped by what answer fails with where the line is too long to ride on.
var errLong = errors.New("its answer is too long")

// question is the line that asks a filter for p. It fails where the format has none for it.
func (f Format) question(p ring.Passenger) ([]byte, error) {
	if len(p.Payload) > ring.PassengerMax { // it came beside the particle, if it came
		return nil, fmt.Errorf("its payload has %d bytes: a filter is given at most %d", len(p.Payload),
			ring.PassengerMax)
	}
	if f == JSON {
		line, err := json.Marshal(p)
		return append(line, '\n'), err
	}
	switch text := sofar(p); {
	case !utf8.Valid(text):
		return nil, errors.New(`it is not UTF-8, so it fits no line: use format = "json"`)
	case bytes.IndexByte(text, '\n') >= 0:
		return nil, errors.New(`it has more than one line: use format = "json"`)
	default:
		return append(bytes.Clone(text), '\n'), nil
	}
}

// sofar is what the stations before have made of p.
func sofar(p ring.Passenger) []byte {
	if p.Folded > 0 {
		return p.Value
	}
	return p.Payload
}

// answer is what line, without its end, makes of p; folded is false where it says that p goes
// on as it is. The same value once more is one.
func (f Format) answer(p ring.Passenger, line []byte) (value []byte, folded bool, err error) {
	value = line
	if f == JSON {
		var a struct {
			Number *ring.Number `json:"number"`
			Value  []byte       `json:"value"`
		}
		switch err := json.Unmarshal(line, &a); {
		case err != nil:
			return nil, false, fmt.Errorf("%w: %w: %.80q", errStray, err, line)
		case a.Number == nil || *a.Number != p.Number:
			return nil, false, fmt.Errorf("%w: it has not the number of what was asked: %.80q", errStray, line)
		case a.Value == nil:
			return nil, false, nil
		}
		value = a.Value
	}
	if len(value) > ring.PassengerMax {
		return nil, false, fmt.Errorf("%w: it has %d bytes, and a value has at most %d", errLong, len(value),
			ring.PassengerMax)
	}
	return value, true, nil
}
