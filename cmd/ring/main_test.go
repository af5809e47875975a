package main

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets scripts, and children of `ring up`, run this very binary as
// the ring command.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == askCommand { // as instances of `ring up` run it
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	testscript.Main(m, map[string]func(){
		"ring": func() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) },
	})
}

// Scripts run the real command; `exits CODE ring …` checks its exit code, and `awaits ring …`
// runs it until that is 0.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":  exits,
			"awaits": awaits,
		},
		Setup: func(env *testscript.Env) error {
			env.Setenv("NO_COLOR", "1")
			return nil
		},
	})
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE command [argument…]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("run %v: %v", args[1:], err)
	}
	if got != want {
		ts.Fatalf("%v: exit code %d, want %d", args[1:], got, want)
	}
}

func awaits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: awaits command [argument…]")
	}
	late, look := time.After(upPatience), time.NewTicker(20*time.Millisecond)
	defer look.Stop()
	for ts.Exec(args[0], args[1:]...) != nil {
		select {
		case <-look.C:
		case <-late:
			ts.Fatalf("%v: not within %v", args, upPatience)
		}
	}
}
