// Package ringofservers_test holds the shape of the house as tests.
package ringofservers_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "ringofservers.dev"

// forbidden is the shape of the house: what may not be imported from where, and
// why. A pattern ends in /... for everything below. A row that must change is a
// decision: say why in ARCHITECTURE.md.
var forbidden = []struct{ from, to, why string }{
	{"ring/internal/core", "net/...", "protocols know no socket; the driver in node does"},
	{"ring/internal/core", "os/...", "protocols know no disk and no process"},
	{"ring/internal/core", "sync/...", "protocols have one owner at a time; the baton is in node"},
	{"ring/internal/core", "log/...", "protocols tell, they do not log"},
	{"ring/internal/detect", "net/...", "protocols know no socket"},
	{"ring/internal/detect", "sync/...", "protocols have one owner at a time"},
	{"ring/internal/flood", "net/...", "protocols know no socket"},
	{"ring/internal/flood", "sync/...", "protocols have one owner at a time"},
	{"ring/internal/particle", "net/...", "protocols know no socket"},
	{"ring/internal/particle", "sync/...", "protocols have one owner at a time"},
	{"ring/internal/spread", "net/...", "protocols know no socket"},
	{"ring/internal/spread", "sync/...", "protocols have one owner at a time"},
	{"ring/internal/bulk", "net/...", "protocols know no socket; the driver in haul does"},
	{"ring/internal/bulk", "os/...", "protocols know no file; the driver in haul does"},
	{"ring/internal/bulk", "sync/...", "protocols have one owner at a time"},
	{"ring/internal/haul", module + "/ring/internal/core", "large payloads need no baton"},
	{"ring/internal/consensus", "net/...", "protocols know no socket"},
	{"ring/internal/consensus", "sync/...", "protocols have one owner at a time"},
	{"ring/internal/consensus", "os/...", "what must be kept is an effect"},
	{"ring/internal/bus", "math/rand/...", "every instance must come to the same state"},
	{"ring/internal/overlay", "math/rand/...", "every machine must build the same graph"},
	{"ring/internal/overlay", "net/...", "the overlay is computed from names alone"},
	{"ring/internal/roster", "net/...", "addresses are resolved at each dial, by the driver"},
	{"ring/internal/wire", "net/...", "the codec sees bytes, wherever they come from"},
	{"ring/internal/journal", "net/...", "the log knows a disk and nobody else"},
	{"ring/internal/journal", "sync/...", "the log has one owner, the goroutine that appends"},
	{"ring/internal/...", module + "/ring", "rooms import downwards only"},
	{"ring/internal/...", module + "/ring/ringtest/...", "the code does not know its tests"},
	{"ring", module + "/ring/ringtest/...", "the code does not know its tests"},
	{"ring/ringtest", module + "/ring/internal/node", "the simulator drives cores, not sockets"},
	{"ring/ringtest", module + "/ring/internal/link", "the simulator drives cores, not sockets"},
	{"ring/ringtest", "github.com/anishathalye/porcupine", "the binary links the simulator, not its judge"},
	{"admin", module + "/ring/internal/...", "faces use what any third party could"},
	{"cmd/ring", module + "/ring/internal/...", "faces use what any third party could"},
	{"run", module + "/ring/internal/...", "applications use what any third party could"},
	{"run", module + "/admin", "applications do not know the faces"},
	{"fence", module + "/...", "the check at a resource knows no ring"},
	{"ring/trust", module + "/...", "who is who stands on the standard library alone"},
	{"ring/...", module + "/admin", "the core does not know its faces"},
	{"guard", module + "/...", "what ends a command in time needs no ring, and knows nobody that uses it"},
	{"supervise", module + "/ring/...", "this application needs no ring"},
	{"supervise", module + "/run", "applications do not know each other"},
	{"supervise", module + "/respawn", "applications do not know each other"},
	{"supervise", module + "/admin", "applications do not know the faces"},
	{"enroll", module + "/ring/internal/...", "applications use what any third party could"},
	{"enroll", module + "/admin", "applications do not know the faces"},
	{"lap", module + "/ring/internal/...", "applications use what any third party could"},
	{"lap", module + "/supervise", "applications do not know each other"},
	{"lap", module + "/respawn", "applications do not know each other"},
	{"lap", module + "/run", "applications do not know each other"},
	{"lap", module + "/admin", "applications do not know the faces"},
	{"supervise", module + "/lap", "applications do not know each other"},
	{"doctor", module + "/ring/internal/...", "applications use what any third party could"},
	{"doctor", module + "/lap", "applications do not know each other"},
	{"doctor", module + "/run", "applications do not know each other"},
	{"doctor", module + "/respawn", "applications do not know each other"},
	{"doctor", module + "/supervise", "applications do not know each other"},
	{"doctor", module + "/admin", "applications do not know the faces"},
	{"respawn", module + "/lap", "applications do not know each other"},
	{"respawn", module + "/ring/internal/...", "applications use what any third party could"},
	{"respawn", module + "/supervise", "applications do not know each other"},
	{"station", module + "/ring/internal/...", "applications use what any third party could"},
	{"station", module + "/supervise", "applications do not know each other"},
	{"station", module + "/admin", "applications do not know the faces"},
	{"examples/...", module + "/internal/...", "an example is what a stranger could write"},
	{"ring/...", module + "/run", "the core does not know its applications"},
	{"ring/...", module + "/station", "the core does not know its applications"},
	{"ring/...", module + "/lap", "the core does not know its applications"},
	{"ring/...", module + "/doctor", "the core does not know its applications"},
	{"internal/fleet", module + "/...", "what tests the program from outside shares nothing with it"},
	{"cmd/ring", module + "/internal/fleet", "the program does not know its tests"},
	{"...", "text/template", "turns the linker's dead-code elimination off for the whole binary"},
	{"...", "html/template", "turns the linker's dead-code elimination off for the whole binary"},
	{"...", "math/rand", "chance comes from a seeded math/rand/v2 source"},
}

// coreMay is all that a protocol package may import from outside the module.
var coreMay = []string{
	"cmp", "crypto/sha256", "encoding/binary", "encoding/hex", "errors", "fmt", "hash/crc32",
	"iter", "maps", "math", "math/bits", "math/rand/v2", "slices", "sort", "strconv", "strings",
	"time", "unicode", "unicode/utf8",
}

var cores = []string{
	"bulk", "bus", "consensus", "core", "detect", "flood", "gather", "lease", "overlay", "particle",
	"roster", "spread", "train", "wire",
}

// engine is what consensus stands on: a state machine too, which is stepped.
var engine = []string{
	"go.etcd.io/raft/v3", "go.etcd.io/raft/v3/confchange", "go.etcd.io/raft/v3/raftpb",
	"go.etcd.io/raft/v3/tracker", "google.golang.org/protobuf/proto",
}

type pkg struct {
	ImportPath string
	Imports    []string
	Doc        string
	Name       string
	Standard   bool
	Dir        string
	GoFiles    []string
	Export     string // the file with the types of what it exports
}

func list(t *testing.T) []pkg {
	t.Helper()
	return goList(t, "-json=ImportPath,Imports,Doc,Name", "./...")
}

func goList(t *testing.T, args ...string) []pkg {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list"}, args...)...).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		switch err := d.Decode(&p); {
		case errors.Is(err, io.EOF):
			return pkgs
		case err != nil:
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

func match(pattern, path string) bool {
	if pattern == "..." {
		return true
	}
	if base, ok := strings.CutSuffix(pattern, "/..."); ok {
		return path == base || strings.HasPrefix(path, base+"/")
	}
	return path == pattern
}

func TestForbiddenImports(t *testing.T) {
	used := make([]bool, len(forbidden))
	for _, p := range list(t) {
		from := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		for i, rule := range forbidden {
			if !match(rule.from, from) {
				continue
			}
			used[i] = true
			for _, imp := range p.Imports {
				if match(rule.to, imp) {
					t.Errorf("%s imports %s: %s", from, imp, rule.why)
				}
			}
		}
	}
	for i, rule := range forbidden {
		if !used[i] {
			t.Errorf("rule %q -> %q matches no package: mend or delete it", rule.from, rule.to)
		}
	}
}

func TestCoresImportOnlyThis(t *testing.T) {
	may := map[string]bool{}
	for _, m := range coreMay {
		may[m] = true
	}
	for _, p := range list(t) {
		for _, c := range cores {
			if p.ImportPath != module+"/ring/internal/"+c {
				continue
			}
			for _, imp := range p.Imports {
				if c == "consensus" && slices.Contains(engine, imp) {
					continue
				}
				if !may[imp] && !strings.HasPrefix(imp, module+"/ring/internal/") {
					t.Errorf("%s imports %s: protocols are pure, see ARCHITECTURE.md", c, imp)
				}
			}
		}
	}
}

func TestEveryPackageHasADoc(t *testing.T) {
	for _, p := range list(t) {
		if p.Doc == "" && !strings.HasSuffix(p.ImportPath, module) {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

// What is linked into the binary weighs on everybody who deploys it: each of
// these costs every other package too. (cobra brings text/template, but calls
// nothing of it that would keep the linker from leaving dead code out.)
func TestBinaryStaysLean(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "./cmd/ring").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for _, heavy := range []string{
		"html/template", "google.golang.org/grpc", "golang.org/x/net/trace", "testing",
	} {
		for dep := range strings.Lines(string(out)) {
			if strings.TrimSpace(dep) == heavy {
				t.Errorf("cmd/ring links %s", heavy)
			}
		}
	}
}

// wallClock names what makes a time of day of a time.Time, or a time.Time of a
// time of day.
var wallClock = []string{
	"Unix", "UnixMilli", "UnixMicro", "UnixNano", "UTC", "Local", "AddDate", "Truncate",
	"MarshalText", "MarshalJSON", "MarshalBinary", "AppendFormat", "Format", "Parse",
}

// wallClockMay is where it may be done, because nothing follows from it, or a person
// asked for it.
var wallClockMay = []string{
	"ring/backup.go: Unix", "ring/backup.go: Unix", // when a backup was taken
	"ring/internal/consensus/recover.go: Unix", // two recoveries that know nothing of each other
	"ring/internal/consensus/recover.go: Unix",
	"ring/internal/link/dial.go: Unix",    // long ago, as a deadline that ends a read at once
	"ring/internal/node/vouch.go: Format", // certificates are good until a time of day
	"ring/internal/node/vouch.go: UTC",
	"ring/metrics.go: Unix",      // likewise, for a person
	"ring/snapshot.go: Round(0)", // read by a person
}

// A clock that is set back or ahead must change nothing: durations come from
// readings of one process's monotonic clock, and no time of day is compared,
// kept or sent. A wall clock cannot be set for one process alone, so that no
// test can set it back; this one finds whoever would begin to look at it. What must look
// at it is in ring/trust, and nothing of the protocols follows from that but who may link.
func TestNothingFollowsFromTheTimeOfDay(t *testing.T) {
	var found []string
	err := filepath.WalkDir("ring", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") ||
			strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "ring/ringtest/") ||
			strings.HasPrefix(path, "ring/trust/") { // certificates are good until a time of day
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		imports := slices.ContainsFunc(file.Imports, func(i *ast.ImportSpec) bool {
			return i.Path.Value == `"time"`
		}) || strings.HasPrefix(filepath.ToSlash(path), "ring/internal/consensus/") // is told it
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				if imports && slices.Contains(wallClock, n.Sel.Name) {
					found = append(found, filepath.ToSlash(path)+": "+n.Sel.Name)
				}
			case *ast.CallExpr: // which takes the monotonic reading away
				if s, ok := n.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Round" && len(n.Args) == 1 {
					if arg, ok := n.Args[0].(*ast.BasicLit); ok && arg.Value == "0" {
						found = append(found, filepath.ToSlash(path)+": Round(0)")
					}
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(found, wallClockMay) {
		t.Errorf("the time of day is looked at in %q, want only in %q", found, wallClockMay)
	}
}
