//go:build forgetful

package store

import (
	"os"

	"ringofservers.dev/ring/internal/forgetful"
)

// directory is the data directory on a disk that loses what was not synced when
// this process is killed. The lock, and what is read at the start, are there.
type directory struct {
	*os.Root
	disk *forgetful.Dir
}

func onDisk(root *os.Root) directory { return directory{root, forgetful.On(root)} }

func (d directory) create(name string) (file, error) { return d.disk.Create(name) }
func (d directory) Rename(old, new string) error     { return d.disk.Rename(old, new) }
func (d directory) Remove(name string) error         { return d.disk.Remove(name) }
func (d directory) sync() error                      { return d.disk.Sync() }
