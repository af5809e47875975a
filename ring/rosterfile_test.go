package ring

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestExpandNames(t *testing.T) {
	got, err := ExpandNames("dc{1..2}/prod/{0..1}")
	want := []Name{"dc1/prod/0", "dc2/prod/0", "dc1/prod/1", "dc2/prod/1"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("ExpandNames = %v, %v, want %v", got, err, want)
	}
	if got, err := ExpandNames("dc{1.."); err == nil {
		t.Errorf("ExpandNames of an open brace = %v, want an error", got)
	}
}

func TestExpandAddresses(t *testing.T) {
	got, err := ExpandAddresses("127.0.0.1:{3000+index}", []Name{"a", "b"}, 2)
	want := []string{"127.0.0.1:3002", "127.0.0.1:3003"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("ExpandAddresses = %v, %v, want %v", got, err, want)
	}
	if got, err := ExpandAddresses("{zone}:1", []Name{"a"}, 0); err == nil {
		t.Errorf("ExpandAddresses of an unknown word = %v, want an error", got)
	}
}

func TestRosterHashAndValidate(t *testing.T) {
	r := Roster{Names: []Name{"a", "b", "c"}, Addresses: []string{"h:1", "h:2", "h:3"}}
	if err := r.Validate("prod"); err != nil {
		t.Fatal(err)
	}
	hash := r.Hash("prod")
	if len(hash) != 64 || strings.Trim(hash, "0123456789abcdef") != "" {
		t.Errorf("Hash = %q, want 64 hexadecimal digits", hash)
	}
	if moved := (Roster{Names: r.Names}); moved.Hash("prod") != hash {
		t.Error("addresses change the hash")
	}
	if r.Hash("test") == hash {
		t.Error("the ring's name does not change the hash")
	}

	bad := Roster{Names: []Name{"a", "a/", "a"}, Degree: 5}
	if got := bad.Hash("prod"); got != "" {
		t.Errorf("Hash of a bad roster = %q, want none", got)
	}
	err := bad.Validate("prod")
	if err == nil {
		t.Fatal("a bad roster is valid")
	}
	for _, want := range []string{"instances 0 and 2", `"a/"`, "degree is 5"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q:\n%v", want, err)
		}
	}
}

func TestRosterThereAndBack(t *testing.T) {
	r := Roster{Names: []Name{"a", "b"}, Addresses: []string{"h:1", "h:2"}, Degree: 4}
	full, err := r.build("prod")
	if err != nil {
		t.Fatal(err)
	}
	if got := rosterOf(full); !reflect.DeepEqual(got, r) {
		t.Errorf("rosterOf(build(r)) = %+v, want %+v", got, r)
	}
}

func TestDiffRosters(t *testing.T) {
	a := Roster{Names: []Name{"x", "y", "z"}}
	b := Roster{Names: []Name{"x", "w"}}
	var got []string
	for _, d := range DiffRosters(a, b) {
		got = append(got, d.String())
	}
	for _, d := range DiffRosters(b, a)[1:] {
		got = append(got, d.String())
	}
	want := []string{"1: a has y, b has w", "2: only a has z", "2: only b has z"}
	if !slices.Equal(got, want) {
		t.Errorf("differences = %q, want %q", got, want)
	}
	if older := (Roster{Names: a.Names[:2]}); !older.Older(a) || a.Older(older) || a.Older(b) {
		t.Error("Older does not tell which roster was appended to")
	}
}

func TestRosterLinks(t *testing.T) {
	for _, c := range []struct{ n, degree, want int }{
		{0, 0, 0}, {1, 0, 0}, {3, 0, 2}, {3, 4, 2}, {11, 0, 6}, {11, 4, 4}, {1001, 0, 8},
	} {
		if got := (Roster{Names: make([]Name, c.n), Degree: c.degree}).Links(); got != c.want {
			t.Errorf("Links of %d with degree %d = %d, want %d", c.n, c.degree, got, c.want)
		}
	}
}
