package guard

import (
	"context"
	"io"
	"os/exec"
	"runtime"
	"time"
)

// Brief runs a command that is to end soon, and returns how it ended as exec.Cmd.Run does.
// There is no guard, which takes longer to start than such a command runs. It reads nothing,
// env is as of exec.Cmd, stdout may be nil, and what it prints to standard error is
// discarded. When ctx ends it is killed, and in any case when it has ended what it has left
// in its process group is; on Linux it dies with this process too. Where a system has no
// process groups it is killed alone.
func Brief(ctx context.Context, words, env []string, stdout io.Writer) error {
	runtime.LockOSThread() // on Linux what it starts dies with it, if this process does
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Env, cmd.Stdout = env, stdout
	cmd.WaitDelay = briefDelay
	InGroup(cmd)
	err := cmd.Run()
	if cmd.Process != nil {
		KillGroup(cmd.Process.Pid)
	}
	return err
}

// briefDelay is for its output to be read where it was killed and somebody out of reach
// holds that.
const briefDelay = time.Second
