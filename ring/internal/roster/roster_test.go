package roster

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"ringofservers.dev/ring/internal/wire"
)

func TestNew(t *testing.T) {
	names := []string{"dc1/prod/0", "dc2/prod/0"}
	r, err := New("prod", names, []string{"10.0.0.1:3000", "[::1]:3000"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	names[0] = "changed by the caller"
	if r.Len() != 2 || r.Index("dc1/prod/0") != 0 || r.Index("dc2/prod/0") != 1 {
		t.Errorf("roster = %+v, want two instances in order", r)
	}
	if got := r.Index("dc3/prod/0"); got != -1 {
		t.Errorf("Index of nobody = %d, want -1", got)
	}
	if got := r.Addr(1); got != "[::1]:3000" {
		t.Errorf("Addr(1) = %s, want [::1]:3000", got)
	}
	bare, err := New("prod", names[1:], nil, 0)
	if err != nil || bare.Addr(0) != "" {
		t.Errorf("a roster without addresses = %+v, %v", bare, err)
	}
}

func TestNewRefuses(t *testing.T) {
	long := strings.Repeat("x", wire.NameMax+1)
	tests := []struct {
		name   string
		ring   string
		names  []string
		addrs  []string
		degree int
		want   []string // each in the text
	}{
		{"all at once", "", []string{"a", "b/", "a"}, nil, 3, []string{
			`ring name "" is empty`, "degree is 3", `instance 1: name "b/": element "" is empty`,
			`instances 0 and 2 are both named "a": rename or remove one`,
		}},
		{"nobody", "prod", nil, nil, 0, []string{"the roster is empty"}},
		{"no word", "pr od", []string{"a"}, nil, 0, []string{`contains ' '`}},
		{"ring name too long", long, []string{"a"}, nil, 0, []string{"256 bytes"}},
		{"ring name a path", "a/b", []string{"a"}, nil, 0, []string{`contains '/'`}},
		{"name too long", "prod", []string{long}, nil, 0, []string{"256 bytes", "shorten it"}},
		{"dots", "prod", []string{"a/../b", "./a"}, nil, 0, []string{`".." is no`, `"." is no`}},
		{"umlaut", "prod", []string{"köln"}, nil, 0, []string{`contains 'ö'`}},
		{"a pattern", "prod", []string{"dc{1..3}"}, nil, 0, []string{`contains '{'`}},
		{"addresses missing", "prod", []string{"a", "b"}, []string{"h:1"}, 0, []string{
			"1 addresses for 2 instances",
		}},
		{
			"addresses wrong", "prod",
			[]string{"a", "b", "c", "d"},
			[]string{"h", "h:0", ":3000", "::1:3000"},
			0,
			[]string{
				`instance 0 (a): address "h" has no port`, `port "0" is no number`,
				`":3000" has no host`, `host contains ':'`,
			},
		},
		{"address twice", "prod", []string{"a", "b"}, []string{"h:1", "h:1"}, 0, []string{
			"instances 0 (a) and 1 (b) share the address h:1",
		}},
		{"too many", "prod", make([]string, wire.RosterMax+1), nil, 0, []string{"16385 instances"}},
		{"many faults", "prod", make([]string, 100), nil, 0, []string{"more faults"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r, err := New(test.ring, test.names, test.addrs, test.degree)
			if err == nil {
				t.Fatalf("New = %+v, want an error", r)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error lacks %q:\n%v", want, err)
				}
			}
		})
	}
}

// R1 rests on this: the hash is of what must agree, and of nothing else.
func TestHash(t *testing.T) {
	hash := func(ring string, names, addrs []string, degree int) string {
		t.Helper()
		r, err := New(ring, names, addrs, degree)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%x", r.Hash())
	}
	ten, err := Expand("n{0..9}")
	if err != nil {
		t.Fatal(err)
	}
	reversed := slices.Clone(ten)
	slices.Reverse(reversed)
	one := hash("prod", ten, nil, 0)
	const golden = "b30bb1356c885b25591bf10e632507a8d000606c9e5c526334b061b85fa04fdf"
	if one != golden {
		t.Errorf("hash of ten = %s, want %s: it is on the wire and may not change", one, golden)
	}
	var addrs []string
	for i := range ten {
		addrs = append(addrs, fmt.Sprintf("10.0.0.%d:3000", i))
	}
	for what, same := range map[string]string{
		"addresses":          hash("prod", ten, addrs, 0),
		"the default degree": hash("prod", ten, nil, 6),
	} {
		if same != one {
			t.Errorf("%s changes the hash", what)
		}
	}
	for what, other := range map[string]string{
		"the ring's name": hash("test", ten, nil, 0),
		"the order":       hash("prod", reversed, nil, 0),
		"the degree":      hash("prod", ten, nil, 4),
		"one instance":    hash("prod", ten[:9], nil, 0),
		"a name":          hash("prod", append(slices.Clone(ten[:9]), "n10"), nil, 0),
	} {
		if other == one {
			t.Errorf("%s does not change the hash", what)
		}
	}
}

func TestExpand(t *testing.T) {
	tests := []struct{ pattern, want string }{
		{"a", "a"},
		{"dc{1..3}/x/{0..1}", "dc1/x/0 dc2/x/0 dc3/x/0 dc1/x/1 dc2/x/1 dc3/x/1"},
		{"{a,b}", "a b"},
		{"{a,b}-{x,y}", "a-x b-x a-y b-y"},
		{"n{1..3,7,x}", "n1 n2 n3 n7 nx"},
		{"n{08..11}", "n08 n09 n10 n11"},
		{"n{9..10}", "n9 n10"},
		{"n{5..5}", "n5"},
		{"{a}", "a"},
	}
	for _, test := range tests {
		got, err := Expand(test.pattern)
		if err != nil || strings.Join(got, " ") != test.want {
			t.Errorf("Expand(%s) = %v, %v, want %s", test.pattern, got, err, test.want)
		}
	}
	if got, err := Expand("{0..127}/{0..127}"); err != nil || len(got) != wire.RosterMax {
		t.Errorf("the largest pattern has %d names, %v, want %d", len(got), err, wire.RosterMax)
	}
}

func TestExpandRefuses(t *testing.T) {
	tests := []struct{ pattern, want string }{
		{"", "write a name"},
		{"a{1..3", "close the brace"},
		{"a}", "open the brace"},
		{"{a,{b,c}}", "two patterns"},
		{"{}", "empty item"},
		{"{a,}", "empty item"},
		{"{1..x}", "not of two numbers"},
		{"{1..}", "not of two numbers"},
		{"{3..1}", "write {1..3}"},
		{"{1..16385}", "smaller one"},
		{"{0..2000000000}", "smaller one"},
		{"{1..99999999999999999999}", "not of two numbers"},
		{"{0..127}/{0..127}/{0..1}", "smaller ranges"},
		{strings.Repeat("{0..9}", 30), "smaller ranges"},
		{strings.Repeat("x", wire.NameMax+1), "shorten it"},
		{"{1..2}" + strings.Repeat("x", wire.NameMax), "shorten it"},
		{"{" + strings.Repeat("0", 300) + "..2}", "fewer zeros"},
	}
	for _, test := range tests {
		got, err := Expand(test.pattern)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("Expand(%.40s) = %d names, %v, want an error with %q",
				test.pattern, len(got), err, test.want)
		}
	}
}

func TestAddress(t *testing.T) {
	const name, index = "dc2/prod/7", 5
	tests := []struct{ template, want string }{
		{"{2}-{3}.{1}.example.org:3000", "prod-7.dc2.example.org:3000"},
		{"127.0.0.1:{3000+index}", "127.0.0.1:3005"},
		{"ring-{index}.ring:3000", "ring-5.ring:3000"},
		{"10.0.0.1:3000", "10.0.0.1:3000"},
		{"[fe80::{index}%eth0]:3000", "[fe80::5%eth0]:3000"},
	}
	for _, test := range tests {
		got, err := Address(test.template, name, index)
		if err != nil || got != test.want {
			t.Errorf("Address(%s) = %s, %v, want %s", test.template, got, err, test.want)
		}
	}
	if got, err := Address("{name}.local:1", "web-1", 0); err != nil || got != "web-1.local:1" {
		t.Errorf("Address with {name} = %s, %v, want web-1.local:1", got, err)
	}
	for template, want := range map[string]string{
		"{name}:3000":             "host contains '/'",
		"{4}:3000":                "use 1 to 3",
		"{0}:3000":                "use 1 to 3",
		"{zone}:3000":             "{zone} is unknown",
		"{+index}:3000":           "is unknown",
		"{1:3000":                 "close the brace",
		"127.0.0.1":               "has no port",
		"127.0.0.1:{65535+index}": "no number from 1 to 65535",
		"127.0.0.1:{index":        "close the brace",
	} {
		got, err := Address(template, name, index)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Address(%s) = %s, %v, want an error with %q", template, got, err, want)
		}
	}
}

func TestDiffAndOlder(t *testing.T) {
	tests := []struct {
		a, b  string
		want  []Difference
		older bool
	}{
		{"a b", "a b", nil, false},
		{"a b", "a b c", []Difference{{2, "", "c"}}, true},
		{"a b c", "a b", []Difference{{2, "c", ""}}, false},
		{"a b", "b a c", []Difference{{0, "a", "b"}, {1, "b", "a"}, {2, "", "c"}}, false},
	}
	for _, test := range tests {
		a, b := strings.Fields(test.a), strings.Fields(test.b)
		if got := Diff(a, b); !slices.Equal(got, test.want) {
			t.Errorf("Diff(%s, %s) = %v, want %v", test.a, test.b, got, test.want)
		}
		if got := Older(a, b); got != test.older {
			t.Errorf("Older(%s, %s) = %v, want %v", test.a, test.b, got, test.older)
		}
	}
}

func TestAddresses(t *testing.T) {
	names := []string{"dc1/0", "dc2/0", "dc1/1"}
	for pattern, want := range map[string]string{
		"{1}.example:{3000+index}": "dc1.example:3005 dc2.example:3006 dc1.example:3007",
		"127.0.0.1:{4000..4002}":   "127.0.0.1:4000 127.0.0.1:4001 127.0.0.1:4002",
		"{a,b,c}.example:1":        "a.example:1 b.example:1 c.example:1",
	} {
		got, err := Addresses(pattern, names, 5)
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("Addresses(%s) = %v, %v, want %s", pattern, got, err, want)
		}
	}
	for pattern, want := range map[string]string{
		"127.0.0.1:{4000..4003}": "stands for 4 of them, and there are 3 names",
		"{a,b,c}":                "has no port",
		"{9}:1":                  "use 1 to 2",
		"{a,b}:{index}":          "2 of them",
		"{3..1}:1":               "write {1..3}",
	} {
		got, err := Addresses(pattern, names, 0)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Addresses(%s) = %v, %v, want an error with %q", pattern, got, err, want)
		}
	}
}
