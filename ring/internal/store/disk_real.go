//go:build !forgetful

package store

import "os"

// directory is the data directory as the file system keeps it.
type directory struct{ *os.Root }

func onDisk(root *os.Root) directory { return directory{root} }

func (d directory) create(name string) (file, error) {
	return d.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
}

func (d directory) sync() error { return syncDir(d.Root) }
