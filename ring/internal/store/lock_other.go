//go:build !darwin && !dragonfly && !freebsd && !linux && !netbsd && !openbsd && !windows

package store

import (
	"errors"
	"io"
	"os"
)

// acquire refuses: without an exclusive lock two processes could share a
// directory, and then neither may trust it.
func acquire(*os.Root, string) (io.Closer, error) {
	return nil, errors.New("no exclusive file locks on this system; run without --data")
}

func syncDir(*os.Root) error { return nil }
