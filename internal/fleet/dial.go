//go:build linux

package fleet

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Dial connects from inside instance i's namespace. addr must be an address, not
// a name: a resolver would ask from elsewhere.
func (f *Net) Dial(ctx context.Context, i int, network, addr string) (net.Conn, error) {
	there, err := os.Open("/run/netns/" + f.Namespace(i))
	if err != nil {
		return nil, err
	}
	defer there.Close()
	// A socket stays where it was made, so the thread can come back. It must: the
	// processes that it started are killed when it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	defer here.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("enter %s: %w", f.Namespace(i), err)
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, network, addr)
	if back := unix.Setns(int(here.Fd()), unix.CLONE_NEWNET); back != nil {
		panic("leave " + f.Namespace(i) + ": " + back.Error()) // this thread is good for nothing
	}
	return c, err
}
