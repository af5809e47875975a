package doctor

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"ringofservers.dev/ring"
)

// What a sheet has at most; what is beyond is counted.
const (
	problemsMax = 48
	pathsMax    = 64
	kindsMax    = 16
	whoMax      = 8
	// textMax and doMax bound in bytes what is said of one instance, and what to do.
	textMax = 200
	doMax   = 400
	// sheetMax bounds a sheet in bytes, well below ring.PayloadMax.
	sheetMax = ring.PayloadMax * 3 / 4
)

// sheet is what some instances have found together. Two are merged by counting together and
// keeping the first of everything by an order that all share, so it does not matter in which
// order they come.
type sheet struct {
	Count     int            `json:"n"`     // instances that speak in it
	Trouble   map[string]int `json:"bad"`   // check -> how many of them have a problem there
	Problems  []Problem      `json:"p"`     // in order
	More      int            `json:"more"`  // findings of problems there was no room for
	Paths     []Path         `json:"paths"` // in order
	MorePath  int            `json:"mpath"` // bad ones of those there was no room for
	Tried     int            `json:"tried"`
	Bad       int            `json:"badp"`                // of those
	Untried   int            `json:"untried"`             // for want of time
	Sampled   bool           `json:"sampled"`             // somebody has not tried all
	Strangers int            `json:"strangers,omitempty"` // instances that have refused somebody unknown of late
	Rosters   []Kind         `json:"rosters"`
	Builds    []Kind         `json:"builds"`
	Views     []Kind         `json:"views"`
	Roots     []Kind         `json:"roots,omitempty"` // of those with TLS
}

// merged is one sheet of two; both may be used afterwards.
func merged(a, b sheet) sheet {
	m := sheet{
		Count: a.Count + b.Count, Tried: a.Tried + b.Tried, Bad: a.Bad + b.Bad,
		Untried: a.Untried + b.Untried, Sampled: a.Sampled || b.Sampled,
		Strangers: a.Strangers + b.Strangers,
		Trouble:   map[string]int{}, More: a.More + b.More, MorePath: a.MorePath + b.MorePath,
		Rosters: mergedKinds(a.Rosters, b.Rosters), Builds: mergedKinds(a.Builds, b.Builds),
		Views: mergedKinds(a.Views, b.Views), Roots: mergedKinds(a.Roots, b.Roots),
	}
	for _, from := range []map[string]int{a.Trouble, b.Trouble} {
		for check, n := range from { // in any order: each is added by itself
			m.Trouble[check] += n
		}
	}
	m.Problems = joined(a.Problems, b.Problems, Problem.compare, func(p *Problem, q Problem) {
		p.Count, p.Do = p.Count+q.Count, min(p.Do, q.Do) // which differ between versions only
		p.Who = first(slices.Concat(p.Who, q.Who), whoMax, func(a, b Who) int {
			return strings.Compare(string(a.Name)+"\x00"+a.What, string(b.Name)+"\x00"+b.What)
		})
	})
	for _, p := range m.Problems[min(len(m.Problems), problemsMax):] {
		m.More += p.Count
	}
	m.Problems = m.Problems[:min(len(m.Problems), problemsMax)]
	m.Paths = joined(a.Paths, b.Paths, Path.compare, func(p *Path, q Path) {
		p.Count += q.Count
		if len(p.From) == 0 || len(q.From) > 0 && q.From[0] < p.From[0] {
			p.What = q.What
		}
		p.From = first(slices.Concat(p.From, q.From), whoMax, compareNames)
	})
	for _, p := range m.Paths[min(len(m.Paths), pathsMax):] {
		m.MorePath += p.Count
	}
	m.Paths = m.Paths[:min(len(m.Paths), pathsMax)]
	return m
}

func compareNames(a, b ring.Name) int { return strings.Compare(string(a), string(b)) }

func mergedKinds(a, b []Kind) []Kind {
	kinds := joined(a, b, func(p, q Kind) int { return strings.Compare(p.Name, q.Name) },
		func(p *Kind, q Kind) {
			p.Count += q.Count
			p.Who = first(slices.Concat(p.Who, q.Who), whoMax, compareNames)
		})
	return kinds[:min(len(kinds), kindsMax)]
}

// joined is the elements of both in order, those that are equal added into one.
func joined[T any](a, b []T, compare func(p, q T) int, add func(*T, T)) []T {
	all := slices.Concat(a, b)
	slices.SortStableFunc(all, compare)
	out := all[:0]
	for _, one := range all {
		if last := len(out) - 1; last >= 0 && compare(out[last], one) == 0 {
			add(&out[last], one)
			continue
		}
		out = append(out, one)
	}
	return out
}

// first is the first n of all, in order.
func first[T any](all []T, n int, compare func(a, b T) int) []T {
	slices.SortFunc(all, compare)
	return slices.Clip(all[:min(len(all), n)])
}

// encode is a sheet as it travels: JSON, with fewer names where it would be too long, and then
// with half of the problems and bad paths, or a quarter.
func (s sheet) encode() ([]byte, error) {
	for who, most := whoMax, problemsMax; ; {
		text, err := json.Marshal(s)
		if err != nil || len(text) <= sheetMax {
			return text, err
		}
		if who > 1 {
			who /= 2
		} else if most /= 2; most == 0 {
			return nil, fmt.Errorf("what was found takes %d bytes, more than %d", len(text), sheetMax)
		}
		s = s.shorter(who, most)
	}
}

// shorter has that many problems and bad paths at most, with no more names than that for each.
func (s sheet) shorter(who, most int) sheet {
	for _, p := range s.Problems[min(len(s.Problems), most):] {
		s.More += p.Count
	}
	for _, p := range s.Paths[min(len(s.Paths), most*pathsMax/problemsMax):] {
		s.MorePath += p.Count
	}
	s.Problems = slices.Clone(s.Problems[:min(len(s.Problems), most)])
	s.Paths = slices.Clone(s.Paths[:min(len(s.Paths), most*pathsMax/problemsMax)])
	for i := range s.Problems {
		s.Problems[i].Who = s.Problems[i].Who[:min(len(s.Problems[i].Who), who)]
	}
	for i := range s.Paths {
		s.Paths[i].From = s.Paths[i].From[:min(len(s.Paths[i].From), who)]
	}
	for _, kinds := range []*[]Kind{&s.Rosters, &s.Builds, &s.Views, &s.Roots} {
		*kinds = slices.Clone(*kinds)
		for i := range *kinds {
			(*kinds)[i].Who = (*kinds)[i].Who[:min(len((*kinds)[i].Who), who)]
		}
	}
	return s
}

// decode reads what another instance has sent, and holds it to the limits of a sheet.
func decode(text []byte) (sheet, error) {
	var s sheet
	if len(text) > ring.PayloadMax {
		return sheet{}, fmt.Errorf("a sheet of %d bytes is too long", len(text))
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return sheet{}, fmt.Errorf("read what was found: %w", err)
	}
	for _, n := range []int{s.Count, s.More, s.MorePath, s.Tried, s.Bad, s.Untried, s.Strangers} {
		if n < 0 || n > countMax {
			return sheet{}, fmt.Errorf("read what was found: %d is no number of instances or paths", n)
		}
	}
	for i := range s.Problems {
		p := &s.Problems[i]
		p.Check, p.Case, p.Do = clipped(p.Check, textMax), clipped(p.Case, textMax), clipped(p.Do, doMax)
		p.Verdict = Verdict(clipped(string(p.Verdict), textMax))
		p.Count = min(max(p.Count, 0), countMax)
		for j := range p.Who {
			p.Who[j].What = clipped(p.Who[j].What, textMax)
		}
	}
	for i := range s.Paths {
		p := &s.Paths[i]
		p.Case, p.What = clipped(p.Case, textMax), clipped(p.What, textMax)
		p.Count = min(max(p.Count, 0), countMax)
	}
	for check, n := range s.Trouble { // in any order: each by itself
		s.Trouble[check] = min(max(n, 0), countMax)
	}
	return merged(s, sheet{}), nil
}

// countMax bounds every count of a sheet from elsewhere: that of all pairs of a roster.
const countMax = 1 << 28

// mergeSheets is the ring.Merge of two sheets.
func mergeSheets(a, b []byte) ([]byte, error) {
	s, err := decode(a)
	if err != nil {
		return nil, err
	}
	t, err := decode(b)
	if err != nil {
		return nil, err
	}
	return merged(s, t).encode()
}

// clipped is text in at most so many bytes of UTF-8.
func clipped(text string, most int) string {
	if len(text) > most {
		text = text[:most]
	}
	return strings.ToValidUTF8(text, "")
}
