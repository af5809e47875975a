package doctor

import (
	"bytes"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// space is what is free, and how large it is, of the file system of dir.
func space(dir string) (free, size, inodes uint64, hasInodes bool, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, 0, 0, false, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	block := uint64(s.Bsize)
	return s.Bavail * block, s.Blocks * block, s.Ffree, s.Files > 0, nil
}

func bootClock() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// lookAtFiles is how many files may be open, and how many are.
func lookAtFiles() *fileFacts {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return nil
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil
	}
	return &fileFacts{limit: min(limit.Cur, 1<<62), open: len(open)}
}

// groupsAt is where control groups are mounted.
const groupsAt = "/sys/fs/cgroup"

// lookAtCPU is what this process may use of the processors.
func lookAtCPU() *cpuFacts {
	c := &cpuFacts{procs: runtime.GOMAXPROCS(0)}
	for _, dir := range groups(groupsAt, ownGroups(), "cpu") {
		quota, ok := quotaIn(dir)
		if !ok || c.quota > 0 && quota >= c.quota {
			continue
		}
		c.quota = quota
		stat := fields(filepath.Join(dir, "cpu.stat"))
		c.periods, c.throttled = stat["nr_periods"], stat["nr_throttled"]
	}
	return c
}

// quotaIn is the limit of one group, in processors.
func quotaIn(dir string) (quota float64, ok bool) {
	if text, err := os.ReadFile(filepath.Join(dir, "cpu.max")); err == nil { // version 2
		words := strings.Fields(string(text))
		if len(words) != 2 {
			return 0, false
		}
		return ratio(words[0], words[1])
	}
	most, err := os.ReadFile(filepath.Join(dir, "cpu.cfs_quota_us"))
	if err != nil {
		return 0, false
	}
	period, err := os.ReadFile(filepath.Join(dir, "cpu.cfs_period_us"))
	if err != nil {
		return 0, false
	}
	return ratio(strings.TrimSpace(string(most)), strings.TrimSpace(string(period)))
}

// ratio is not ok for what stands for no limit: "max", and in version 1 a negative number.
func ratio(part, whole string) (float64, bool) {
	a, err := strconv.ParseFloat(part, 64)
	if err != nil || a <= 0 {
		return 0, false
	}
	b, err := strconv.ParseFloat(whole, 64)
	if err != nil || b <= 0 {
		return 0, false
	}
	return a / b, true
}

// lookAtMemory is the tightest limit of memory, and what counts against it without what the
// kernel can drop; nil where there is none.
func lookAtMemory() *memoryFacts {
	var tightest *memoryFacts
	for _, dir := range groups(groupsAt, ownGroups(), "memory") {
		limit, used, cache := numberIn(dir, "memory.max"), numberIn(dir, "memory.current"), "inactive_file"
		if limit == 0 {
			limit, used, cache = numberIn(dir, "memory.limit_in_bytes"), numberIn(dir, "memory.usage_in_bytes"),
				"total_inactive_file"
		}
		if limit == 0 || limit >= 1<<60 || tightest != nil && limit >= tightest.limit {
			continue
		}
		used -= min(used, fields(filepath.Join(dir, "memory.stat"))[cache])
		tightest = &memoryFacts{limit: limit, used: used}
	}
	return tightest
}

// numberIn is 0 where there is none, "max" included.
func numberIn(dir, name string) uint64 {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// fields reads lines of a name and a number.
func fields(file string) map[string]uint64 {
	all := map[string]uint64{}
	text, err := os.ReadFile(file)
	if err != nil {
		return all
	}
	for line := range bytes.Lines(text) {
		if words := strings.Fields(string(line)); len(words) == 2 {
			if n, err := strconv.ParseUint(words[1], 10, 64); err == nil {
				all[words[0]] = n
			}
		}
	}
	return all
}

func ownGroups() string {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	return string(text)
}

// groups are the directories of the control group in which this process is, and of those
// above it, for one controller; own is what /proc/self/cgroup says. In a container the file
// may name a group of the host that is not to be seen in it: then that of the container is
// at the root.
func groups(root, own, controller string) (dirs []string) {
	for line := range strings.Lines(own) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		base := root
		if parts[0] != "0" {
			if !strings.Contains(","+parts[1]+",", ","+controller+",") {
				continue
			}
			base = filepath.Join(root, controller)
		}
		for at := path.Clean("/" + parts[2]); ; at = path.Dir(at) {
			dirs = append(dirs, filepath.Join(base, at))
			if at == "/" {
				break
			}
		}
	}
	return dirs
}
