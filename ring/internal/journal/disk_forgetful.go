//go:build forgetful

package journal

import (
	"fmt"
	"os"

	"ringofservers.dev/ring/internal/forgetful"
)

// onDisk is the directory root on a disk that loses what was not synced when
// this process is killed.
func onDisk(root *os.Root) disk { return forgetfulDisk{forgetful.On(root)} }

type forgetfulDisk struct{ dir *forgetful.Dir }

func (d forgetfulDisk) read(name string, most int64) ([]byte, error) {
	b, err := d.dir.ReadFile(name)
	if int64(len(b)) > most {
		return nil, corrupt(int(most), fmt.Sprintf("it is %d bytes long", len(b)))
	}
	return b, err
}

func (d forgetfulDisk) create(name string) (file, error) { return d.dir.Create(name) }
func (d forgetfulDisk) open(name string) (file, error)   { return d.dir.Open(name) }
func (d forgetfulDisk) rename(old, new string) error     { return d.dir.Rename(old, new) }
func (d forgetfulDisk) remove(name string) error         { return d.dir.Remove(name) }
func (d forgetfulDisk) names() ([]string, error)         { return d.dir.Names() }
func (d forgetfulDisk) sync() error                      { return d.dir.Sync() }
func (d forgetfulDisk) close() error                     { return d.dir.Close() }
