//go:build linux

package fleet

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
)

// Identities has the ring program make an authority below dir, and an identity for each
// name, and returns the directory that has those, each in one called as it is.
func Identities(program, dir, ring string, names []string) (string, error) {
	authority, out := filepath.Join(dir, "authority"), filepath.Join(dir, "identities")
	for _, args := range [][]string{
		{"ca", "init", "--dir", authority, "--ring", ring},
		append([]string{"ca", "issue", "--dir", authority, "--out", out}, names...),
	} {
		if text, err := exec.Command(program, args...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("ring %s: %w\n%s", args[1], err, text)
		}
	}
	return out, nil
}

// Encrypt gives each instance an identity, before any is started. What is asked of them
// stays in the clear, which only this host may: so not on a Net.
func (r *Ring) Encrypt() (err error) {
	if r.Net != nil {
		return errors.New("instances in namespaces answer nobody in the clear")
	}
	r.identities, err = Identities(r.Binary, r.Dir, "real", r.Names)
	return err
}

// Identity is the directory of that of instance i.
func (r *Ring) Identity(i int) string { return filepath.Join(r.identities, r.Names[i]) }
