package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"
)

// syncs is how many small writes are synced to find out how fast the disk is.
const syncs = 5

// probeName is the file that is written for that, in the data directory.
const probeName = "doctor.probe"

// lookAtDisk looks at the file system of dir and writes and syncs there. It blocks while the
// disk does.
func lookAtDisk(dir string) *diskFacts {
	d := &diskFacts{}
	info, err := os.Stat(dir)
	if err != nil {
		d.err = err
		return d
	}
	if runtime.GOOS != "windows" {
		d.mode = uint32(info.Mode().Perm())
	}
	if d.free, d.size, d.inodes, d.hasInodes, d.err = space(dir); d.err != nil {
		return d
	}
	if d.sync, d.err = timeSyncs(filepath.Join(dir, probeName)); d.err != nil {
		d.writeFailed = true
	}
	return d
}

// timeSyncs is the median time of a small write with a sync; the file is removed again.
func timeSyncs(path string) (_ time.Duration, err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() {
		for _, done := range []error{f.Close(), os.Remove(path)} {
			if err == nil {
				err = done
			}
		}
	}()
	block := make([]byte, 512)
	var took []time.Duration
	for range syncs {
		begun := time.Now()
		if _, err := f.Write(block); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, fmt.Errorf("sync %s: %w", path, err)
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

// clocks are readings of one moment.
type clocks struct {
	wall time.Time     // with the monotonic clock
	boot time.Duration // that goes on while the host sleeps; 0: there is none
}

func readClocks() clocks { return clocks{time.Now(), bootClock()} }

// since is what became of the clocks after c: monotonic time is what both are compared with.
func (c clocks) since(now clocks) clockFacts {
	ran := now.wall.Sub(c.wall)
	k := clockFacts{stepped: now.wall.Round(0).Sub(c.wall.Round(0)) - ran}
	if c.boot > 0 && now.boot > 0 {
		k.asleep = max(now.boot-c.boot-ran, 0)
		k.stepped -= k.asleep // in which the wall clock went on, too
	}
	return k
}
