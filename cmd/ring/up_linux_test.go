package main

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// Only what a starter of ring up has left is removed.
func TestRemoveLeftBehind(t *testing.T) {
	temp := t.TempDir()
	used, remove, err := makeTempData(temp)
	if err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "data")
	for _, dir := range []string{
		filepath.Join(temp, tempPrefix+"stale"), filepath.Join(temp, "other-stale"), outside,
	} {
		if err := os.MkdirAll(filepath.Join(dir, "local-0"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, starterLock), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	begun := filepath.Join(temp, tempPrefix+"begun") // its starter has not locked it yet
	if err := os.Mkdir(begun, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(temp, tempPrefix+"link")); err != nil {
		t.Fatal(err)
	}
	removeLeftBehind(temp)
	want := []string{"other-stale", filepath.Base(used), tempPrefix + "begun", tempPrefix + "link"}
	slices.Sort(want)
	if got := names(t, temp); !slices.Equal(got, want) {
		t.Errorf("kept %q, want %q", got, want)
	}
	if got := names(t, outside); len(got) != 2 {
		t.Errorf("where a link leads is %q, want all of it", got)
	}
	if err := remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(used); !os.IsNotExist(err) {
		t.Errorf("stat of what its starter has removed: %v", err)
	}
}

// A panic has the exit code of wrong settings, but who panics has run, and runs again.
func TestUpSurvivesAPanic(t *testing.T) {
	l := startUp(t, 3, "--hold", "20ms", "--quiet")
	_, line := l.await(0, "the ring is 3 of 3 alive")
	l.signal(syscall.SIGQUIT, 1) // ends it as a panic does
	_, line = l.await(line, "local/1", "goroutine")
	l.await(line, "local/1", "I am in the ring, as incarnation 2")
	if err := l.interrupt(); err != nil {
		t.Errorf("Ctrl-C: %v, want exit code 0", err)
	}
	l.freed()
}
