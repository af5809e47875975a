package roster

import (
	"strings"
	"testing"

	"ringofservers.dev/ring/internal/wire"
)

// No pattern panics or grows beyond the bounds, and what comes out has no
// braces left: expanded again, each name is itself.
func FuzzExpand(f *testing.F) {
	for _, pattern := range []string{
		"dc{1..3}/prod/{0..1}", "{a,b}{x,y}", "n{08..11}", "{1..99999}", "{{}}", "a}", "{,}", "",
	} {
		f.Add(pattern)
	}
	f.Fuzz(func(t *testing.T, pattern string) {
		names, err := Expand(pattern)
		if err != nil {
			return
		}
		if len(names) == 0 || len(names) > wire.RosterMax {
			t.Fatalf("%q stands for %d names", pattern, len(names))
		}
		for _, i := range []int{0, len(names) / 2, len(names) - 1} {
			if len(names[i]) > wire.NameMax {
				t.Fatalf("%q has a name of %d bytes", pattern, len(names[i]))
			}
			again, err := Expand(names[i])
			if err != nil || len(again) != 1 || again[0] != names[i] {
				t.Fatalf("%q gives %q, which gives %q, %v", pattern, names[i], again, err)
			}
		}
		if !strings.ContainsAny(pattern, "{}") && names[0] != pattern {
			t.Fatalf("%q without braces gives %q", pattern, names[0])
		}
	})
}

// No template panics, and every address that comes out is one.
func FuzzAddress(f *testing.F) {
	f.Add("{1}.{2}:{3000+index}", "dc1/prod/0", 3)
	f.Add("[{name}]:{index}", "a", 1)
	f.Add("{2147483647+index}", "a", -1)
	f.Fuzz(func(t *testing.T, template, name string, index int) {
		addr, err := Address(template, name, index)
		if err != nil {
			return
		}
		if err := CheckAddr(addr); err != nil {
			t.Fatal(err)
		}
	})
}
