package link

import (
	"strings"
	"testing"
)

// Whatever a dial is answered, only a switch to our protocol makes a link.
func FuzzJudge(f *testing.F) {
	f.Add("HTTP/1.1 101 Switching Protocols\r\nUpgrade: ring/1")
	f.Add("HTTP/1.1 200 OK\r\nServer: x")
	f.Add("HTTP/1.1 503 busy")
	f.Add("SSH-2.0-OpenSSH")
	f.Fuzz(func(t *testing.T, head string) {
		cause, err := judge(head, Protocol)
		if (cause == 0) != (err == nil) {
			t.Fatalf("cause %d with error %v", cause, err)
		}
		if err == nil && (!strings.HasPrefix(head, "HTTP/1.1 101") || !strings.Contains(head, Protocol)) {
			t.Fatalf("%q made a link", head)
		}
	})
}
