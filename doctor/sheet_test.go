package doctor

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"ringofservers.dev/ring"
)

// sheetOf is what one instance of many may have found.
func sheetOf(rng *rand.Rand, i, cases int) sheet {
	self := ring.Name(fmt.Sprintf("dc%d/prod/%03d", i%3, i))
	s := sheet{Count: 1, Trouble: map[string]int{}}
	f := finder{self: self}
	for range rng.IntN(4) {
		v := []Verdict{Warn, Fail}[rng.IntN(2)]
		n := rng.IntN(cases)
		f.say(v, checks[n%len(checks)], fmt.Sprint("case ", n), fmt.Sprint("do ", n), "what %d of %s", i, self)
	}
	s.note(f.found)
	for range rng.IntN(3) {
		s.Paths = append(s.Paths, Path{
			To: ring.Name(fmt.Sprintf("to/%02d", rng.IntN(90))), Case: []string{refusedPath, silentPath}[rng.IntN(2)],
			What: fmt.Sprint("seen by ", i), Count: 1, From: []ring.Name{self},
		})
	}
	paths := s.Paths
	s.Paths = nil
	s = merged(s, sheet{Paths: paths, Tried: 16, Bad: len(paths), Untried: rng.IntN(2), Sampled: rng.IntN(9) == 0})
	s.Rosters = kindOf(self, fmt.Sprint("roster ", rng.IntN(2)))
	s.Builds = kindOf(self, fmt.Sprint("build ", rng.IntN(30)))
	s.Views = kindOf(self, "view")
	s.Strangers = rng.IntN(2)
	return s
}

// It does not matter in which order, and in which pairs, sheets are merged, nor whether they
// travel between.
func TestMergeInAnyOrder(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		all := make([]sheet, 2+rng.IntN(60))
		for i := range all {
			all[i] = sheetOf(rng, i, 40+rng.IntN(40))
		}
		one := sheet{}
		problems, paths := 0, 0
		for _, s := range all {
			one = merged(one, s)
			paths += s.Bad
			for _, p := range s.Problems {
				problems += p.Count
			}
		}
		for len(all) > 1 {
			i := rng.IntN(len(all) - 1)
			m := merged(all[i+1], all[i])
			text, err := m.encode()
			if err != nil {
				t.Fatal(err)
			}
			if m, err = decode(text); err != nil {
				t.Fatal(err)
			}
			all = append(append(all[:i:i], m), all[i+2:]...)
			rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		}
		a, err := one.encode()
		if err != nil {
			t.Fatal(err)
		}
		b, err := all[0].encode()
		if err != nil || string(a) != string(b) {
			t.Fatalf("seed %d: merged in another order it is\n%s\nwant\n%s (%v)", seed, b, a, err)
		}
		got := one.More
		for _, p := range one.Problems {
			got += p.Count
		}
		if got != problems {
			t.Errorf("seed %d: %d findings are counted, of %d", seed, got, problems)
		}
		got = one.MorePath
		for _, p := range one.Paths {
			got += p.Count
		}
		if got != paths || one.Bad != paths {
			t.Errorf("seed %d: %d and %d bad paths are counted, of %d", seed, got, one.Bad, paths)
		}
	}
}

// However large the fleet, and whatever is wrong, what comes home fits.
func TestSheetOfManyFits(t *testing.T) {
	all := sheet{}
	long := strings.Repeat("x", 240)
	for i := range 300 {
		s := sheet{Count: 1, Trouble: map[string]int{}}
		f := finder{self: ring.Name(fmt.Sprintf("%s/%d", long, i))}
		for n := range 3 * problemsMax / 2 {
			f.say(Fail, checks[n%len(checks)], fmt.Sprint(n), strings.Repeat("d", doMax), "%s", strings.Repeat("w", textMax))
		}
		s.note(f.found)
		reached := sheet{Bad: 80}
		for to := range 80 {
			reached.Paths = append(reached.Paths, Path{
				To: ring.Name(fmt.Sprintf("%s/%d", long, to)), Case: silentPath, What: strings.Repeat("w", textMax),
				Count: 1, From: []ring.Name{f.self},
			})
		}
		all = merged(all, reached)
		all = merged(all, s)
	}
	text, err := all.encode()
	if err != nil {
		t.Fatal(err)
	}
	if len(text) > sheetMax {
		t.Errorf("it takes %d bytes, want at most %d", len(text), sheetMax)
	}
	back, err := decode(text)
	if err != nil {
		t.Fatal(err)
	}
	if back.Count != 300 || back.Bad != 24_000 || back.Trouble[Disk] != 300 {
		t.Errorf("counted are %d instances, %d bad paths, %d with a bad disk", back.Count, back.Bad, back.Trouble[Disk])
	}
	if back.More == 0 || back.MorePath == 0 {
		t.Error("it does not say what there was no room for")
	}
}

func FuzzDecode(f *testing.F) {
	text, err := sheetOf(rand.New(rand.NewPCG(1, 1)), 7, 50).encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"n":-1}`))
	f.Add([]byte(`{"p":[{"check":"disk","verdict":"worse","count":-5,"who":[{"name":"a"},{}]}],"bad":{"disk":-3}}`))
	f.Add([]byte(`{"paths":[{},{},{"to":"a","count":1e9}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := decode(text)
		if err != nil {
			return
		}
		if len(s.Problems) > problemsMax || len(s.Paths) > pathsMax || len(s.Rosters) > kindsMax || s.Count < 0 {
			t.Fatalf("it is larger than a sheet may be: %+v", s)
		}
		for _, p := range s.Problems {
			if len(p.Who) > whoMax || p.Count < 0 || len(p.Do) > doMax {
				t.Fatalf("a problem is larger than it may be: %+v", p)
			}
		}
		again, err := s.encode()
		if err != nil {
			return // names that are too long for a sheet
		}
		back, err := decode(again)
		if err != nil {
			t.Fatalf("what was read cannot be read again: %v", err)
		}
		if twice, err := back.encode(); err != nil || !reflect.DeepEqual(twice, again) {
			t.Fatalf("read twice it is another: %s and %s", again, twice)
		}
		report(s, ring.Status{}, ring.BusStatus{}, ring.Gathered{}, nil, nil, "")
	})
}
