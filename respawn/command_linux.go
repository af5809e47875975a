package respawn

import "syscall"

// ownGroup begins a process group, which its first process leaves with whoever started it.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
