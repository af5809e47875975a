//go:build unix

package main

import (
	"os"
	"syscall"
)

// passable are the signals that can be passed on to the application, by name.
var passable = map[os.Signal]string{
	syscall.SIGUSR1: "USR1", syscall.SIGUSR2: "USR2", syscall.SIGHUP: "HUP",
}
