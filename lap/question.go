package lap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"ringofservers.dev/ring"
)

// The topics of the questions, without a payload. What comes home is the JSON of a Names, a
// Load, a Versions and a Clocks.
const (
	NamesTopic    = "ring/names"
	LoadTopic     = "ring/load"
	VersionsTopic = "ring/versions"
	ClocksTopic   = "ring/clocks"
)

// Questions are those topics.
func Questions() []string { return []string{NamesTopic, LoadTopic, VersionsTopic, ClocksTopic} }

// questionBudget is for how long one may hold the particle. It takes a tenth of a
// millisecond; the rest is for a host whose processors are busy.
const questionBudget = 50 * time.Millisecond

// listMax bounds in bytes a value in which instances are named. What is left of
// ring.PassengerMax is for extremes, whose names change, and for counters to grow.
const listMax = 5 << 10

// versionMax bounds in bytes what is said of a version.
const versionMax = 128

// Stops is what of a ring.Ring stations need.
type Stops interface {
	Station(topic string, f ring.StationFunc, options ...ring.StationOption) (remove func(), err error)
}

// AddQuestions has the instance called self, of that version of the program, answer the
// questions, until remove is called. It fails with what Stops does, and leaves nothing then.
func AddQuestions(stops Stops, self ring.Name, version string) (remove func(), err error) {
	all := &stations{stops: stops}
	all.add(NamesTopic, questionBudget, fold(func(v *Names, _ ring.Passenger, fits room) {
		v.add(self, fits)
	}))
	all.add(LoadTopic, questionBudget, fold(func(v *Load, _ ring.Passenger, fits room) {
		v.add(loadOf(self), fits)
	}))
	all.add(VersionsTopic, questionBudget, fold(func(v *Versions, _ ring.Passenger, fits room) {
		v.add(self, version, fits)
	}))
	all.add(ClocksTopic, questionBudget, fold(func(v *Clocks, p ring.Passenger, fits room) {
		at := p.At
		if at.IsZero() {
			at = time.Now()
		}
		v.add(self, at, fits)
		if p.From == self {
			v.relativeTo(self, at)
		}
	}))
	return all.done()
}

// stations are some that are added all or not at all.
type stations struct {
	stops  Stops
	remove []func()
	err    error
}

func (s *stations) add(topic string, budget time.Duration, f folder) {
	if s.err != nil {
		return
	}
	remove, err := s.stops.Station(topic, ring.Fold(f), ring.Holds(budget))
	if err != nil {
		s.err = fmt.Errorf("add the station %s: %w", topic, err)
		return
	}
	s.remove = append(s.remove, remove)
}

func (s *stations) done() (remove func(), err error) {
	remove = func() {
		for _, r := range slices.Backward(s.remove) {
			r()
		}
	}
	if s.err != nil {
		remove()
		return nil, s.err
	}
	return remove, nil
}

// folder makes a new value of a passenger, as ring.Fold has it.
type folder = func(context.Context, ring.Passenger) ([]byte, error)

// room says whether there is room to name one stop, by what would be said of it.
type room func(one any) bool

// list names one stop more in each while there is room, and else counts it as one of more: who
// comes behind one that was not named is not named either.
func list[T any](each *[]T, more *int, one T, fits room) {
	if *more > 0 || !fits(one) {
		*more++
		return
	}
	*each = append(*each, one)
}

// fold is a folder of values that are the JSON of a V. add adds one stop to that; where
// there is no room it must not name it, only count it.
func fold[V any](add func(v *V, p ring.Passenger, fits room)) folder {
	return func(_ context.Context, p ring.Passenger) ([]byte, error) {
		return folded(p.Value, func(v *V, fits room) { add(v, p, fits) })
	}
}

// folded adds one stop to a value so far, nil before the first.
func folded[V any](so []byte, add func(v *V, fits room)) ([]byte, error) {
	v := new(V)
	if len(so) > 0 {
		if err := json.Unmarshal(so, v); err != nil {
			return nil, fmt.Errorf("read what those before have folded: %w", err)
		}
	}
	add(v, func(one any) bool {
		text, err := json.Marshal(one)
		return err == nil && len(so)+len(text) <= listMax
	})
	text, err := json.Marshal(v)
	if err == nil && len(text) > ring.PassengerMax {
		err = errors.New("there is no room for another stop")
	}
	return text, err
}

// Names is who was there, in the order of the lap.
type Names struct {
	Count int         `json:"count"`
	Names []ring.Name `json:"names"`
	More  int         `json:"more,omitempty"` // those of Count who are not named
}

func (v *Names) add(self ring.Name, fits room) {
	v.Count++
	list(&v.Names, &v.More, self, fits)
}

// Load is how busy the hosts are, and what the instances themselves take.
type Load struct {
	Count      int          `json:"count"`
	Load1      *Measure     `json:"load1,omitempty"` // of the hosts, over a minute; Linux only
	Goroutines *Measure     `json:"goroutines,omitempty"`
	RSS        *Measure     `json:"rss_bytes,omitempty"` // resident memory; Linux only
	Each       []LoadOfStop `json:"each"`
	More       int          `json:"more,omitempty"` // those of Count who are not in Each
}

// LoadOfStop is that of one instance.
type LoadOfStop struct {
	Name       ring.Name `json:"name"`
	Load1      *float64  `json:"load1,omitempty"`
	CPUs       int       `json:"cpus"`
	Goroutines int       `json:"goroutines"`
	RSS        *int64    `json:"rss_bytes,omitempty"`
}

// Measure is what one figure comes to over those who have it.
type Measure struct {
	Count int       `json:"count"`
	Sum   float64   `json:"sum"`
	Min   float64   `json:"min"`
	MinAt ring.Name `json:"min_at"`
	Max   float64   `json:"max"`
	MaxAt ring.Name `json:"max_at"`
}

// Mean is 0 where nobody has the figure.
func (m *Measure) Mean() float64 {
	if m == nil || m.Count == 0 {
		return 0
	}
	return m.Sum / float64(m.Count)
}

// with counts one more; the first of those with an extreme keeps it.
func (m *Measure) with(at ring.Name, x float64) *Measure {
	if m == nil {
		return &Measure{1, x, x, at, x, at}
	}
	m.Count, m.Sum = m.Count+1, m.Sum+x
	if x < m.Min {
		m.Min, m.MinAt = x, at
	}
	if x > m.Max {
		m.Max, m.MaxAt = x, at
	}
	return m
}

func (v *Load) add(one LoadOfStop, fits room) {
	v.Count++
	v.Goroutines = v.Goroutines.with(one.Name, float64(one.Goroutines))
	if one.Load1 != nil {
		v.Load1 = v.Load1.with(one.Name, *one.Load1)
	}
	if one.RSS != nil {
		v.RSS = v.RSS.with(one.Name, float64(*one.RSS))
	}
	list(&v.Each, &v.More, one, fits)
}

// Versions is which versions of the program run, in the order in which they were met.
type Versions struct {
	Count    int       `json:"count"`
	Versions []Version `json:"versions"`
	More     int       `json:"more,omitempty"` // those of Count whose version is not in Versions
}

// Version is one of them, and who runs it.
type Version struct {
	Version string      `json:"version"`
	Count   int         `json:"count"`
	Names   []ring.Name `json:"names"`
	More    int         `json:"more,omitempty"` // those of Count who are not named
}

func (v *Versions) add(self ring.Name, version string, fits room) {
	version = clipped(version, versionMax)
	v.Count++
	first := Version{Version: version, Count: 1, Names: []ring.Name{self}}
	i := slices.IndexFunc(v.Versions, func(one Version) bool { return one.Version == version })
	if i < 0 {
		list(&v.Versions, &v.More, first, fits)
		return
	}
	one := &v.Versions[i]
	one.Count++
	list(&one.Names, &one.More, self, fits)
}

// Clocks is by how much the wall clocks differ from that of the lap's origin, whose station is
// the last: until it has folded, from that of the first stop. An offset is the time by a stop's
// clock when the particle came to it, less the time by that of Of when it came there; so it is
// wrong by what the particle took between the two, at most the time of the lap.
type Clocks struct {
	Count  int           `json:"count"`
	Of     ring.Name     `json:"of"` // whose clock the others are compared with
	At     time.Time     `json:"at"` // there, by its clock
	Min    Offset        `json:"min"`
	Max    Offset        `json:"max"`
	Spread time.Duration `json:"spread_ns"` // from Min to Max
	Each   []Offset      `json:"each"`
	More   int           `json:"more,omitempty"` // those of Count who are not in Each
}

// Offset is that of one instance's clock, below 0 where it is behind.
type Offset struct {
	Name   ring.Name     `json:"name"`
	Offset time.Duration `json:"offset_ns"`
}

func (v *Clocks) add(self ring.Name, at time.Time, fits room) {
	if v.Count == 0 {
		v.Of, v.At = self, at.UTC().Round(0) // the wall clock alone
		v.Min, v.Max = Offset{self, 0}, Offset{self, 0}
	}
	v.Count++
	one := Offset{self, at.Round(0).Sub(v.At)}
	if one.Offset < v.Min.Offset {
		v.Min = one
	}
	if one.Offset > v.Max.Offset {
		v.Max = one
	}
	v.Spread = v.Max.Offset - v.Min.Offset
	list(&v.Each, &v.More, one, fits)
}

// relativeTo has the offsets be those from the clock of name, by which it was at then.
func (v *Clocks) relativeTo(name ring.Name, at time.Time) {
	if v.Of == name {
		return
	}
	by := at.Round(0).Sub(v.At)
	v.Of, v.At = name, v.At.Add(by)
	v.Min.Offset -= by
	v.Max.Offset -= by
	for i := range v.Each {
		v.Each[i].Offset -= by
	}
}

// clipped is text in at most so many bytes of UTF-8.
func clipped(text string, most int) string {
	if len(text) > most {
		text = text[:most]
	}
	return strings.ToValidUTF8(text, "")
}
