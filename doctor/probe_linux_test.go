package doctor

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestLookAtDisk(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	d := lookAtDisk(dir)
	if d.err != nil || d.free == 0 || d.size < d.free || d.mode != 0o750 || d.sync <= 0 {
		t.Errorf("lookAtDisk = %+v", d)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("it leaves %v behind (%v)", left, err)
	}
	if d := lookAtDisk(filepath.Join(dir, "missing")); !errors.Is(d.err, fs.ErrNotExist) || d.writeFailed {
		t.Errorf("of what is not there: %+v", d)
	}
	// What is in the way of the file that is written: root may write everywhere.
	if err := os.Mkdir(filepath.Join(dir, probeName), 0o700); err != nil {
		t.Fatal(err)
	}
	if d := lookAtDisk(dir); d.err == nil || !d.writeFailed {
		t.Errorf("where it cannot write: %+v", d)
	}
}

func TestLookAtFiles(t *testing.T) {
	if f := lookAtFiles(); f == nil || f.limit == 0 || f.open < 3 {
		t.Errorf("lookAtFiles = %+v", f)
	}
}

func TestGroups(t *testing.T) {
	for _, c := range []struct {
		own, controller string
		want            []string
	}{
		{"0::/a/b\n", "cpu", []string{"/r/a/b", "/r/a", "/r"}},
		{"0::/\n", "memory", []string{"/r"}},
		{"0::/../x\n", "memory", []string{"/r/x", "/r"}},
		{"7:cpu,cpuacct:/a\n4:memory:/m\n0::/\n", "memory", []string{"/r/memory/m", "/r/memory", "/r"}},
		{"nonsense\n", "cpu", nil},
		{"", "cpu", nil},
	} {
		if got := groups("/r", c.own, c.controller); !slices.Equal(got, c.want) {
			t.Errorf("groups(%q, %s) = %q, want %q", c.own, c.controller, got, c.want)
		}
	}
}

func TestQuota(t *testing.T) {
	for _, c := range []struct {
		files map[string]string
		want  float64
	}{
		{map[string]string{"cpu.max": "50000 100000\n"}, 0.5},
		{map[string]string{"cpu.max": "max 100000\n"}, 0},
		{map[string]string{"cpu.max": "nonsense"}, 0},
		{map[string]string{"cpu.cfs_quota_us": "200000\n", "cpu.cfs_period_us": "100000\n"}, 2},
		{map[string]string{"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}, 0},
		{map[string]string{"cpu.cfs_quota_us": "1"}, 0},
		{nil, 0},
	} {
		dir := t.TempDir()
		for name, text := range c.files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got, ok := quotaIn(dir); got != c.want || ok != (c.want > 0) {
			t.Errorf("quotaIn(%v) = %v, %v, want %v", c.files, got, ok, c.want)
		}
	}
}

func TestFields(t *testing.T) {
	file := filepath.Join(t.TempDir(), "stat")
	if err := os.WriteFile(file, []byte("nr_periods 7\nodd\nbad x\n\nnr_throttled 3"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := fields(file); got["nr_periods"] != 7 || got["nr_throttled"] != 3 || len(got) != 2 {
		t.Errorf("fields = %v", got)
	}
	if got := numberIn(filepath.Dir(file), "stat"); got != 0 {
		t.Errorf("numberIn = %d", got)
	}
}
