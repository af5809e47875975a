//go:build !unix || solaris || aix

package admin

import (
	"errors"
	"net"
)

func listenAt(string) (net.Listener, func() error, error) {
	return nil, nil, errors.New("socket: there is none on this system; use the port on 127.0.0.1")
}
