package lap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"ringofservers.dev/ring"
)

// ride has a passenger visit stops, each with its own folder, and reads what comes home.
func ride[V any](t *testing.T, stops ...folder) (home V) {
	t.Helper()
	var p ring.Passenger
	for i, f := range stops {
		value, err := f(t.Context(), p)
		if err != nil {
			t.Fatalf("stop %d: %v", i, err)
		}
		p.Value = value
	}
	if err := json.Unmarshal(p.Value, &home); err != nil {
		t.Fatal(err)
	}
	return home
}

func TestNames(t *testing.T) {
	at := func(name ring.Name) folder {
		return fold(func(v *Names, _ ring.Passenger, fits room) { v.add(name, fits) })
	}
	got := ride[Names](t, at("dc1/a"), at("dc2/a"), at("dc1/b"))
	if want := []ring.Name{"dc1/a", "dc2/a", "dc1/b"}; got.Count != 3 || got.More != 0 ||
		!slices.Equal(got.Names, want) {
		t.Errorf("came home with %+v, want %v", got, want)
	}
}

func TestLoad(t *testing.T) {
	f := func(x float64) *float64 { return &x }
	at := func(l LoadOfStop) folder {
		return fold(func(v *Load, _ ring.Passenger, fits room) { v.add(l, fits) })
	}
	rss := int64(1 << 20)
	got := ride[Load](t,
		at(LoadOfStop{Name: "a", Load1: f(2), CPUs: 4, Goroutines: 30, RSS: &rss}),
		at(LoadOfStop{Name: "b", CPUs: 2, Goroutines: 50}), // a host that does not know
		at(LoadOfStop{Name: "c", Load1: f(0.5), CPUs: 4, Goroutines: 10, RSS: &rss}))
	if got.Count != 3 || len(got.Each) != 3 || got.Each[1].Load1 != nil || *got.Each[2].Load1 != 0.5 {
		t.Errorf("came home with %+v", got)
	}
	if want := (Measure{2, 2.5, 0.5, "c", 2, "a"}); *got.Load1 != want || got.Load1.Mean() != 1.25 {
		t.Errorf("load %+v, want %+v", *got.Load1, want)
	}
	if want := (Measure{3, 90, 10, "c", 50, "b"}); *got.Goroutines != want {
		t.Errorf("goroutines %+v, want %+v", *got.Goroutines, want)
	}
	if got.RSS.Count != 2 || (*Measure)(nil).Mean() != 0 {
		t.Errorf("memory %+v", got.RSS)
	}
	if here := loadOf("x"); here.Name != "x" || here.CPUs < 1 || here.Goroutines < 1 {
		t.Errorf("the load of this test is %+v", here)
	}
}

func TestVersions(t *testing.T) {
	at := func(name ring.Name, version string) folder {
		return fold(func(v *Versions, _ ring.Passenger, fits room) { v.add(name, version, fits) })
	}
	got := ride[Versions](t, at("a", "v1"), at("b", "v2"), at("c", "v1"))
	if got.Count != 3 || len(got.Versions) != 2 || got.Versions[0].Count != 2 ||
		!slices.Equal(got.Versions[0].Names, []ring.Name{"a", "c"}) || got.Versions[1].Version != "v2" {
		t.Errorf("came home with %+v", got)
	}
}

// The first stop is whom the others' clocks are compared with, whoever that is.
func TestClocks(t *testing.T) {
	now := time.Now()
	f := func(name ring.Name) func(time.Duration) folder {
		return func(ahead time.Duration) folder {
			return func(ctx context.Context, p ring.Passenger) ([]byte, error) {
				p.At = now.Add(ahead)
				return fold(func(v *Clocks, p ring.Passenger, fits room) { v.add(name, p.At, fits) })(ctx, p)
			}
		}
	}
	got := ride[Clocks](t, f("a")(0), f("b")(3*time.Second), f("c")(-time.Millisecond))
	if got.Count != 3 || got.Of != "a" || !got.At.Equal(now) ||
		got.Max != (Offset{"b", 3 * time.Second}) || got.Min != (Offset{"c", -time.Millisecond}) ||
		got.Spread != 3001*time.Millisecond || len(got.Each) != 3 {
		t.Errorf("came home with %+v", got)
	}
}

// The origin, which is the last, has the others compared with itself.
func TestClocksAreComparedWithTheOrigins(t *testing.T) {
	now := time.Now()
	var v Clocks
	every := func(any) bool { return true }
	v.add("b", now, every)
	v.add("c", now.Add(-3*time.Second), every)
	v.add("a", now.Add(time.Second), every)
	v.relativeTo("a", now.Add(time.Second))
	if v.Of != "a" || !v.At.Equal(now.Add(time.Second)) || v.Min != (Offset{"c", -4 * time.Second}) ||
		v.Max != (Offset{"a", 0}) || v.Spread != 4*time.Second ||
		!slices.Equal(v.Each, []Offset{{"b", -time.Second}, {"c", -4 * time.Second}, {"a", 0}}) {
		t.Errorf("compared with a: %+v", v)
	}
}

// fill has a passenger visit so many stops. Once one of them has not found room, those
// behind it are reckoned without coding the value each time.
func fill[V any](t *testing.T, stops int, add func(v *V, i int, fits room)) (home V) {
	t.Helper()
	var value []byte
	i := 0
	for full := false; i < stops && !full; i++ {
		var err error
		value, err = folded(value, func(v *V, fits room) {
			add(v, i, func(one any) bool {
				full = full || !fits(one)
				return !full
			})
		})
		if err != nil {
			t.Fatalf("stop %d: %v", i, err)
		}
	}
	if err := json.Unmarshal(value, &home); err != nil {
		t.Fatal(err)
	}
	for ; i < stops; i++ {
		add(&home, i, func(any) bool { return false })
	}
	value, err := json.Marshal(home)
	if err != nil || len(value) > ring.PassengerMax {
		t.Errorf("the value has %d bytes (%v), at most %d ride", len(value), err, ring.PassengerMax)
	}
	return home
}

// However large the fleet and however long its names, a value fits, all are counted, and of
// those who are not named it is said how many they are.
func TestValuesFitTheLargestFleet(t *testing.T) {
	const fleet = 16384
	begun := time.Now()
	for _, long := range []int{0, 240} {
		name := func(i int) ring.Name { return ring.Name(strings.Repeat("n", long) + fmt.Sprint(i)) }
		for what, ride := range map[string]func(t *testing.T) (count, named, more int){
			"names": func(t *testing.T) (count, named, more int) {
				got := fill(t, fleet, func(v *Names, i int, fits room) { v.add(name(i), fits) })
				return got.Count, len(got.Names), got.More
			},
			"load": func(t *testing.T) (count, named, more int) {
				got := fill(t, fleet, func(v *Load, i int, fits room) {
					load, rss := 1234.56+float64(i), 123456789012+int64(i) // extremes move on with each
					v.add(LoadOfStop{name(i), &load, 128, 1000000 + i, &rss}, fits)
				})
				return got.Count, len(got.Each), got.More
			},
			"one version": func(t *testing.T) (count, named, more int) {
				got := fill(t, fleet, func(v *Versions, i int, fits room) { v.add(name(i), "v1", fits) })
				return got.Versions[0].Count, len(got.Versions[0].Names), got.Versions[0].More
			},
			"a thousand versions": func(t *testing.T) (count, named, more int) {
				got := fill(t, fleet, func(v *Versions, i int, fits room) {
					v.add(name(i), fmt.Sprint("v", i%1000), fits)
				})
				more = got.More
				for _, v := range got.Versions {
					named, more = named+len(v.Names), more+v.More
				}
				return got.Count, named, more
			},
			"clocks": func(t *testing.T) (count, named, more int) {
				got := fill(t, fleet, func(v *Clocks, i int, fits room) {
					v.add(name(i), begun.Add(time.Duration(i*(1-2*(i%2)))*time.Second), fits)
				})
				return got.Count, len(got.Each), got.More
			},
			"a command": func(t *testing.T) (count, named, more int) {
				got := fill(t, fleet, func(v *Said, i int, fits room) {
					v.add("disk", Saying{name(i), 1, strings.Repeat("\x01", OutputMax), true}, fits)
				})
				return got.Count, len(got.Each), got.More
			},
		} {
			t.Run(fmt.Sprintf("%s/long=%d", what, long), func(t *testing.T) {
				count, named, more := ride(t)
				if count != fleet || named == 0 || named+more != fleet {
					t.Errorf("%d are counted, %d named and %d more, want %d in all", count, named, more, fleet)
				}
			})
		}
	}
}

// A stop that cannot read what it is given adds nothing, instead of beginning anew.
func TestStrangeValueIsNotFolded(t *testing.T) {
	for _, value := range []string{"x", "[]", `{"count":"many"}`} {
		_, err := fold(func(v *Names, _ ring.Passenger, fits room) { v.add("a", fits) })(
			t.Context(), ring.Passenger{Value: []byte(value)})
		if err == nil {
			t.Errorf("to %s something was added", value)
		}
	}
}

// platform is a fake of what takes stations: at most so many.
type platform struct {
	topics []string
	most   int
}

func (f *platform) Station(topic string, _ ring.StationFunc, _ ...ring.StationOption) (func(), error) {
	if len(f.topics) == f.most {
		return nil, errors.New("no more")
	}
	f.topics = append(f.topics, topic)
	return func() {
		f.topics = slices.DeleteFunc(f.topics, func(s string) bool { return s == topic })
	}, nil
}

// All stations are there or none, and they go when they are removed.
func TestStationsAreAddedWhole(t *testing.T) {
	f := &platform{most: 9}
	removeQuestions, err := AddQuestions(f, "a", "v1")
	if err != nil || !slices.Equal(f.topics, Questions()) {
		t.Fatalf("stations for %v, %v, want %v", f.topics, err, Questions())
	}
	removeCommands, err := AddCommands(f, "a", []Command{{Name: "disk", Words: []string{"df"}}}, nil)
	if err != nil || f.topics[len(f.topics)-1] != "disk" {
		t.Fatalf("stations for %v, %v", f.topics, err)
	}
	if removeQuestions(); !slices.Equal(f.topics, []string{"disk"}) {
		t.Errorf("left are %v, want the command", f.topics)
	}
	if removeCommands(); len(f.topics) > 0 {
		t.Errorf("left are %v, want none", f.topics)
	}
	f.most = 2
	if _, err := AddQuestions(f, "a", "v1"); err == nil || len(f.topics) > 0 {
		t.Errorf("with room for two: %v, and %v are left", err, f.topics)
	}
	f.most = 9
	commands := []Command{{Name: "a", Words: []string{"x"}}, {Name: "b"}}
	if _, err := AddCommands(f, "a", commands, nil); err == nil || len(f.topics) > 0 {
		t.Errorf("one of them is none: %v, and %v are left", err, f.topics)
	}
}

func TestTopic(t *testing.T) {
	for name, want := range map[string]string{
		"names": NamesTopic, "load": LoadTopic, "versions": VersionsTopic, "clocks": ClocksTopic,
		"disk": "disk", "ring/clocks": "ring/clocks", "app": "app",
	} {
		if got := Topic(name); got != want {
			t.Errorf("Topic(%q) = %q, want %q", name, got, want)
		}
	}
}
