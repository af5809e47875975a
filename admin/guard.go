package admin

import (
	"net"
	"net/http"
)

// policy lets the page load its own files and nothing else, and nobody frame
// it.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// harden sets the headers that every answer carries.
func harden(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, req)
	})
}

// onLoopback is whether this host sends a request to itself. The Host header is looked at
// too: a web page whose name was rebound to 127.0.0.1 still sends its own. What a proxy on
// this host forwards is not from this host.
func onLoopback(req *http.Request) bool {
	h := req.Header
	forwarded := h.Get("Forwarded") != "" || h.Get("X-Forwarded-For") != ""
	return loopback(req.RemoteAddr) && loopback(req.Host) && !forwarded
}

// loopback says whether an address, with or without a port, is this host's
// own.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(trimBrackets(host))
	return ip != nil && ip.IsLoopback()
}

// trimBrackets takes those of an IPv6 address without a port off.
func trimBrackets(host string) string {
	if len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']' {
		return host[1 : len(host)-1]
	}
	return host
}
