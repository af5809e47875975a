package node

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"ringofservers.dev/ring/internal/link"
)

// Who asks for what this build does not speak is told what it does speak, and may
// ask again on the same connection.
func TestAnotherVersionIsToldOurs(t *testing.T) {
	n := run(t, &script{}, nil)
	nc, err := net.Dial("tcp", n.address())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	answers := bufio.NewReader(nc)
	for _, protocol := range []string{"ring/2", "websocket"} {
		fmt.Fprintf(nc, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n",
			link.Path, protocol)
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusUpgradeRequired ||
			resp.Header.Get("Upgrade") != link.Protocol || resp.Header.Get("Connection") != "Upgrade" ||
			!strings.Contains(string(text), link.Protocol) {
			t.Errorf("%s: %s %v\n%s", protocol, resp.Status, resp.Header, text)
		}
	}
}
