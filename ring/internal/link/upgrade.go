package link

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// answer is all the accepting side says before frames; the protocol and an empty line
// follow.
const answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "

// answerTimeout bounds the writing of answer, which every fresh socket takes
// at once.
const answerTimeout = time.Second

// IsUpgrade says whether r asks for a link.
func IsUpgrade(r *http.Request) bool {
	return r.Method == http.MethodGet && r.Header.Get("Upgrade") == Protocol && wantsUpgrade(r)
}

// IsBulk says whether r asks for a connection for large payloads.
func IsBulk(r *http.Request) bool {
	return r.Method == http.MethodGet && r.Header.Get("Upgrade") == BulkProtocol && wantsUpgrade(r)
}

// IsOtherUpgrade says whether r asks for a link, but in another version of our
// protocol, or in another way or for something else than a link: see Refuse.
func IsOtherUpgrade(r *http.Request) bool {
	return r.Header.Get("Upgrade") != "" && wantsUpgrade(r) && !IsUpgrade(r) &&
		!IsBulk(r)
}

// Refuse answers a request that IsOtherUpgrade with what could be asked for
// instead, see RFC 9110, 15.5.22.
func Refuse(w http.ResponseWriter) {
	w.Header().Set("Connection", "Upgrade")
	w.Header().Set("Upgrade", Protocol)
	http.Error(w, "this build speaks "+Protocol+" here and nothing else: ask for it by GET, or run "+
		"the same version of ring everywhere", http.StatusUpgradeRequired)
}

// RefuseClear answers a request for a link in the clear, where links are to be encrypted.
func RefuseClear(w http.ResponseWriter) {
	w.Header().Set(tlsHeader, "required")
	http.Error(w, "links of this ring are encrypted, on this host too: give the instance that "+
		"asks an identity (setting tls)", http.StatusForbidden)
}

// wantsUpgrade says whether r asks at our path to switch to some protocol.
func wantsUpgrade(r *http.Request) bool {
	if r.URL.Path != Path || r.ProtoMajor != 1 || r.ProtoMinor < 1 {
		return false
	}
	for _, line := range r.Header.Values("Connection") {
		for token := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(token), "upgrade") {
				return true
			}
		}
	}
	return false
}

// Upgrade takes the connection of a request that IsUpgrade. After an error the
// connection is closed and nothing may be written to w.
func Upgrade(w http.ResponseWriter, opts Options) (*Conn, error) {
	nc, rest, err := upgrade(w, Protocol)
	if err != nil {
		return nil, err
	}
	c, err := newConn(nc, rest, opts)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("answer upgrade: %w", err)
	}
	return c, nil
}

// UpgradeBulk is Upgrade for a request that IsBulk: both sides are to greet first. rest
// was read of nc already, no time bounds what is read or written on it.
func UpgradeBulk(w http.ResponseWriter) (nc net.Conn, rest []byte, err error) {
	nc, rest, err = upgrade(w, BulkProtocol)
	if err != nil {
		return nil, nil, err
	}
	if err := nc.SetDeadline(time.Time{}); err != nil {
		nc.Close()
		return nil, nil, fmt.Errorf("answer upgrade: %w", err)
	}
	return nc, rest, nil
}

func upgrade(w http.ResponseWriter, protocol string) (nc net.Conn, rest []byte, err error) {
	nc, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, nil, fmt.Errorf("take over connection: %w", err)
	}
	// The server may have read the first frames along with the request.
	rest, err = buffered.Reader.Peek(buffered.Reader.Buffered())
	if err == nil {
		err = nc.SetWriteDeadline(time.Now().Add(answerTimeout))
	}
	if err == nil {
		_, err = nc.Write([]byte(answer + protocol + "\r\n\r\n"))
	}
	if err != nil {
		nc.Close()
		return nil, nil, fmt.Errorf("answer upgrade: %w", err)
	}
	return nc, rest, nil
}
