package ringofservers_test

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sights are the functions of package time that look at a clock or wait for it.
var sights = []string{
	"Now", "Since", "Until", "After", "AfterFunc", "Sleep", "Tick", "NewTimer", "NewTicker",
}

// unsorted are the functions of package maps that list a map in no order.
var unsorted = []string{"All", "Keys", "Values"}

// A core is told the time and has one owner, and the same events bring the same
// answers, in the simulator as everywhere. No test can tell whether the order of a map
// matters, so whoever goes by one says at the end of that line why not.
func TestCoresDecideAndNothingElse(t *testing.T) {
	c := newCoreCheck(t)
	for _, core := range cores {
		for _, fault := range c.check(module+"/ring/internal/"+core, c.parsed(t, core)) {
			t.Errorf("%s: see Decisions in ARCHITECTURE.md", fault)
		}
	}
}

// What the test above is to find, it finds.
func TestCoreCheckFinds(t *testing.T) {
	c := newCoreCheck(t)
	for _, test := range []struct{ body, want string }{
		{"for range m { // any will do\n}", ""},
		{"for range slices.Sorted(maps.Keys(m)) {}", ""},
		{"_ = at.After(at)", ""},
		{"for range m {}", "goes by the order of a map"},
		{"for range named(m) {\n// too late\n}", "goes by the order of a map"},
		{"for range maps.Keys(m) {}", "goes by the order of a map"},
		{"_ = slices.Collect(maps.Values(m))", "goes by the order of a map"},
		{"go func() {}()", "starts a goroutine"},
		{"select {}", "waits for a channel"},
		{"var c chan<- int\n_ = c", "has a channel"},
		{"_ = time.Now()", "calls time.Now"},
		{"clock := time.Since\n_ = clock", "calls time.Since"},
		{"for range time.NewTicker(1).C {}", "calls time.NewTicker"},
		{"_ = func() { time.AfterFunc(1, func() {}) }", "calls time.AfterFunc"},
	} {
		text := "package p\nimport (\"maps\"; \"slices\"; \"time\")\ntype named map[int]int\n" +
			"func f(m map[int]int, at time.Time) {\n" + test.body + "\n}\n" +
			"var _, _, _ = maps.Copy[named, named], slices.Max[[]int], time.UnixMilli\n"
		file, err := parser.ParseFile(c.fset, "p.go", text, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(c.check("p", []*ast.File{file}), "\n")
		if test.want == "" && got != "" || !strings.Contains(got, test.want) {
			t.Errorf("%s: found %q, want %q", test.body, got, test.want)
		}
	}
}

// coreCheck looks for what a core may not do, beside what it may not import.
type coreCheck struct {
	fset   *token.FileSet
	pkgs   map[string]pkg // the cores and all they stand on
	config types.Config
}

func newCoreCheck(t *testing.T) *coreCheck {
	t.Helper()
	args := []string{"-export", "-deps", "-json=ImportPath,Dir,GoFiles,Export"}
	for _, core := range cores {
		args = append(args, "./ring/internal/"+core)
	}
	c := &coreCheck{fset: token.NewFileSet(), pkgs: map[string]pkg{}}
	for _, p := range goList(t, args...) {
		c.pkgs[p.ImportPath] = p
	}
	c.config.Importer = importer.ForCompiler(c.fset, "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(c.pkgs[path].Export)
	})
	return c
}

func (c *coreCheck) parsed(t *testing.T, core string) (files []*ast.File) {
	t.Helper()
	p := c.pkgs[module+"/ring/internal/"+core]
	for _, name := range p.GoFiles {
		file, err := parser.ParseFile(c.fset, filepath.Join(p.Dir, name), nil,
			parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}

// check says what the files of a package do that a core may not.
func (c *coreCheck) check(path string, files []*ast.File) (faults []string) {
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}}
	if _, err := c.config.Check(path, c.fset, files, info); err != nil {
		return []string{err.Error()}
	}
	for _, file := range files {
		said, sorted := c.saidOn(file), map[ast.Node]bool{}
		ast.Inspect(file, func(n ast.Node) bool {
			why := wrong(info, n, sorted)
			at := c.fset.Position(lineOf(n))
			if why != "" && (why != unordered || !said[at.Line]) {
				faults = append(faults, fmt.Sprintf("%s: %s", at, why))
			}
			return true
		})
	}
	return faults
}

// saidOn are the lines of file on which a comment begins.
func (c *coreCheck) saidOn(file *ast.File) map[int]bool {
	lines := map[int]bool{}
	for _, comment := range file.Comments {
		lines[c.fset.Position(comment.Pos()).Line] = true
	}
	return lines
}

// lineOf is where a reason stands: behind what opens a loop.
func lineOf(n ast.Node) token.Pos {
	switch n := n.(type) {
	case *ast.RangeStmt:
		return n.Body.Lbrace
	case nil:
		return token.NoPos
	}
	return n.Pos()
}

const unordered = "goes by the order of a map: sort first, or say behind it why not to"

// wrong says what is wrong with n itself. sorted collects what is sorted at once.
func wrong(info *types.Info, n ast.Node, sorted map[ast.Node]bool) string {
	switch n := n.(type) {
	case *ast.GoStmt:
		return "starts a goroutine"
	case *ast.SelectStmt:
		return "waits for a channel"
	case *ast.ChanType:
		return "has a channel"
	case *ast.RangeStmt:
		if _, is := info.TypeOf(n.X).Underlying().(*types.Map); is {
			return unordered
		}
	case *ast.CallExpr:
		if pkg, name := called(info, n.Fun); pkg == "slices" && strings.HasPrefix(name, "Sorted") {
			sorted[n.Args[0]] = true
		} else if pkg == "maps" && slices.Contains(unsorted, name) && !sorted[n] {
			return unordered
		}
	case *ast.SelectorExpr:
		if pkg, name := called(info, n); pkg == "time" && slices.Contains(sights, name) {
			return "calls time." + name + ": a core is told the time"
		}
	}
	return ""
}

// called is the package and the name of a function that is no method.
func called(info *types.Info, fun ast.Expr) (pkg, name string) {
	s, ok := fun.(*ast.SelectorExpr)
	if !ok {
		return "", ""
	}
	f, ok := info.Uses[s.Sel].(*types.Func)
	if !ok || f.Pkg() == nil || f.Signature().Recv() != nil {
		return "", ""
	}
	return f.Pkg().Path(), f.Name()
}
