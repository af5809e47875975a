package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"

	"ringofservers.dev/ring/trust"
)

const (
	// answerTime bounds a question to one instance. What it asks is answered
	// from memory; five seconds allow for a bad road.
	answerTime = 5 * time.Second
	// answerMax bounds what is read of one answer, in bytes: a status of the
	// largest roster is about 4 MB.
	answerMax = 64 << 20
)

// client asks one instance over its admin address.
type client struct {
	base  string // http://host:port
	at    string // how it is called to a person
	token string // shown with each request, unless empty
	http  *http.Client
}

// newClient is a client of t with the usual patience.
func newClient(t target) (*client, error) { return t.client(answerTime) }

// raw returns the body of a GET.
func (c *client) raw(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	body, err := c.open(ctx, http.MethodGet, path)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, answerMax))
	if err != nil {
		return nil, c.unreachable(err)
	}
	return text, nil
}

// get decodes the JSON object at path.
func (c *client) get(ctx context.Context, path string, into any) error {
	text, err := c.raw(ctx, path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return exitf(exitFailed, "%s: %s is not what an instance answers: %w", c.at, path, err)
	}
	return nil
}

// follow calls each with every object of a stream, until ctx ends or the
// instance goes away.
func (c *client) follow(ctx context.Context, path string, each func(json.RawMessage) error) error {
	body, err := c.open(ctx, http.MethodGet, path)
	if err != nil {
		return err
	}
	defer body.Close()
	lines := json.NewDecoder(body)
	for {
		var line json.RawMessage
		switch err := lines.Decode(&line); {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return exitf(exitUnreachable, "%s has gone away", c.at)
		}
		if err := each(line); err != nil {
			return err
		}
	}
}

// open sends a request without a body.
func (c *client) open(ctx context.Context, method, path string) (io.ReadCloser, error) {
	return c.send(ctx, method, path, nil)
}

// send sends a request and turns every answer but 2xx into an error.
func (c *client) send(ctx context.Context, method, path string, body io.Reader) (
	io.ReadCloser, error,
) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, usageError("--addr: %v", err)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	if resp.StatusCode/100 == 2 {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	var said struct {
		Error string `json:"error"`
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	switch {
	case json.Unmarshal(text, &said) == nil && said.Error != "":
		// The library's errors begin with the name of this command.
		return nil, exitf(codeOf(resp.StatusCode), "%s", strings.TrimPrefix(said.Error, "ring: "))
	case resp.StatusCode == http.StatusBadRequest && speaksOfTLS(text):
		return nil, exitf(exitRefused, "%s speaks TLS: give --addr https://%s, with --ca and a certificate "+
			"(--cert) or a token (--token)", c.at, c.at)
	}
	return nil, exitf(exitUnreachable, "%s is not the admin address of an instance (it answers %s)",
		c.at, resp.Status)
}

// speaksOfTLS is whether that is what plain text is answered at a port with TLS, ours or
// another one of Go.
func speaksOfTLS(text []byte) bool {
	return strings.Contains(string(text), "this is TLS") || strings.Contains(string(text), "HTTPS server")
}

// codeOf is the exit code that goes with an answer.
func codeOf(status int) int {
	switch status {
	case http.StatusForbidden, http.StatusUnauthorized, http.StatusUnprocessableEntity,
		http.StatusRequestEntityTooLarge, http.StatusServiceUnavailable:
		return exitRefused
	case http.StatusNotFound, http.StatusConflict:
		return exitFalse
	case http.StatusGatewayTimeout:
		return exitTimeout
	}
	return exitFailed
}

// unreachable says in one line why nobody answers there, and what to do.
func (c *client) unreachable(err error) error {
	var timeout interface{ Timeout() bool }
	var untrusted *trust.Error
	why := err.Error()
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		why = wrapped.Err.Error()
	}
	switch alert, refused := alertIn(why); {
	case errors.As(err, &untrusted):
		return exitf(exitRefused, "%s is not trusted: %w (see --ca)", c.at, untrusted)
	case refused:
		return exitf(exitRefused, "%s does not take the certificate that it was shown (%s): was it revoked, is it "+
			"out of date, or of another ring? see --cert", c.at, alert)
	case errors.Is(err, http.ErrSchemeMismatch):
		return exitf(exitRefused, "%s has no TLS: give --addr http://%s", c.at, strings.TrimPrefix(c.at, "https://"))
	case errors.Is(err, fs.ErrPermission):
		why = "it is for the user who runs the instance (permission denied)"
	case errors.As(err, &timeout) && timeout.Timeout():
		why = "no answer in time"
	case isRefused(err), errors.Is(err, fs.ErrNotExist):
		why = "nothing listens there"
	}
	return exitf(exitUnreachable, "no instance at %s: %s (is it running? see --addr and RING_ADDR)", c.at, why)
}

// alertIn is what the other end of a TLS connection has said before it closed that. The
// standard library has no type for it.
func alertIn(why string) (alert string, ok bool) {
	_, alert, ok = strings.Cut(why, "remote error: tls: ")
	return alert, ok
}
