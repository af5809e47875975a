//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"ringofservers.dev/fence"
)

// write is the command of a test of `ring run`: it writes to a file through a gate, over
// and over, until it is ended or refused. In that directory "written" has a line with
// the fence for each write, "refused" one for each that was, and a file of the name of
// the fence has its pid.
func write(dir string) error {
	n, err := strconv.ParseUint(os.Getenv("RING_FENCE"), 10, 64)
	if err != nil {
		return fmt.Errorf("RING_FENCE: %w", err)
	}
	line := os.Getenv("RING_FENCE") + "\n"
	if err := appendTo(filepath.Join(dir, os.Getenv("RING_FENCE")), strconv.Itoa(os.Getpid())+"\n"); err != nil {
		return err
	}
	gate := fence.New(fence.File(filepath.Join(dir, "fence")))
	for hold := filepath.Join(dir, "hold-"+os.Getenv("RING_FENCE")); ; {
		if err := wait(hold, filepath.Join(dir, "held"), line); err != nil {
			return err
		}
		err := gate.Do(n, func() error { return appendTo(filepath.Join(dir, "written"), line) })
		if errors.Is(err, fence.ErrOld) {
			return appendTo(filepath.Join(dir, "refused"), line)
		}
		if err != nil {
			return err
		}
		time.Sleep(work)
	}
}

// wait says that it waits, and waits, while there is a file hold.
func wait(hold, held, line string) error {
	for said := false; ; said = true {
		if _, err := os.Stat(hold); os.IsNotExist(err) {
			return nil
		}
		if !said {
			if err := appendTo(held, line); err != nil {
				return err
			}
		}
		time.Sleep(work)
	}
}

func appendTo(path, line string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(line)
	return errors.Join(err, f.Close())
}
