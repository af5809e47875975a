package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// childAttributes keep the terminal's Ctrl-C from the children, so that they
// leave when told to, and end them with whoever started them.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// terminate asks a process to leave, and wakes it if it was stopped.
func terminate(p *os.Process) {
	_ = p.Signal(syscall.SIGTERM)
	_ = p.Signal(syscall.SIGCONT)
}

// starterLock is a file in a directory of makeTempData. It has this name only once
// it is locked, so that whoever finds it free knows that its starter is no more.
const starterLock = "starter.lock"

// holdData locks a new directory; the kernel lets go of it when this process ends,
// however it ends.
func holdData(dir string) (io.Closer, error) {
	path := filepath.Join(dir, starterLock)
	f, err := os.OpenFile(path+".new", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err = tryLock(f); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func tryLock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }

// removeLeftBehind removes what starters of this user have made in parent and were
// killed before they could remove. What cannot be removed is no matter here.
func removeLeftBehind(parent string) {
	entries, _ := os.ReadDir(parent)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), tempPrefix) || !e.IsDir() {
			continue
		}
		info, err := e.Info() // of the entry itself, wherever a link might lead
		if err != nil {
			continue
		}
		if s, ok := info.Sys().(*syscall.Stat_t); !ok || int(s.Uid) != os.Geteuid() {
			continue
		}
		dir := filepath.Join(parent, e.Name())
		f, err := os.OpenFile(filepath.Join(dir, starterLock), os.O_RDWR, 0)
		if err != nil {
			continue
		}
		if tryLock(f) == nil {
			_ = os.RemoveAll(dir)
		}
		_ = f.Close()
	}
}
