// Package guard runs a command under a small process that ends it, and all that it has
// started, in time: whatever becomes of who has started it.
//
//	this process ── lifeline: signals, deadlines, stop ──► guard ──► the command and all
//	  Start, Process ◄── report: its pid, how it ended ──── Run       its children (a
//	                                                        │         process group)
//	                                                        └─ a deadline has come, or the
//	                                                           lifeline is closed, however
//	                                                           that came about: all end
//
// Who is killed cannot tidy up, and who is stopped cannot look at a clock, so somebody
// else must: the guard, which is this program's own binary as [Run]. [Start] starts it,
// and a [Process] tells it what to do.
//
// The command ends when it is told to ([Process.Signal], [Process.Stop]), when a deadline
// has come ([Process.Until]), and when this process has ended; a signal that means no end
// is passed on ([Process.Pass]). With it ends its process
// group, and on Linux, where the guard adopts orphans, also those who have left the group
// for a session of their own: these are not asked, but killed once the command has ended.
// Only who runs as another user may be left, as nobody may signal that.
//
// Nothing is read or copied of what the command prints where its outputs are files: it
// has them itself. It reads nothing (/dev/null), or the file that is its Config.Stdin.
//
// Where the guard is killed with SIGKILL, the command goes with it on Linux, and its group as
// long as this process lives; elsewhere the group goes only with this process alive. Who has
// left the group goes too where the command could be given a control group of its own: with
// version 2 of these, where this process may write to its own (as root, or with Delegate=yes
// of systemd), and Linux 5.14 or later.
//
// What is not done: without that, of a guard that is killed those who have left the group
// live on, and of a guard and this process killed in one moment all but the command.
// Deadlines are times of the boot clock, which goes on while the host sleeps, and are to be
// had on Linux only (see [Deadlines]). Only Unix has process groups: on other systems Start
// fails with [ErrUnsupported].
package guard
