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
	type result struct {
		c   net.Conn
		err error
	}
	done := make(chan result, 1)
	go func() {
		// The thread never comes back from the namespace: it ends with this
		// goroutine, which does not unlock it. A socket stays where it was made.
		runtime.LockOSThread()
		if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- result{nil, fmt.Errorf("enter %s: %w", f.Namespace(i), err)}
			return
		}
		var d net.Dialer
		c, err := d.DialContext(ctx, network, addr)
		done <- result{c, err}
	}()
	r := <-done
	return r.c, r.err
}
