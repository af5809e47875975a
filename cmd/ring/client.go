package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const (
	defaultAddr = "127.0.0.1:3000"
	// answerTime bounds a question to one instance. What it asks is answered
	// from memory; five seconds allow for a bad road.
	answerTime = 5 * time.Second
	// answerMax bounds what is read of one answer, in bytes: a status of the
	// largest roster is about 4 MB.
	answerMax = 64 << 20
)

// client asks one instance over its admin address.
type client struct {
	base string // http://host:port
	http *http.Client
}

// addAddrFlag gives cmd the --addr of every command that asks an instance.
func addAddrFlag(cmd *cobra.Command) *string {
	addr := defaultAddr
	if env := os.Getenv("RING_ADDR"); env != "" {
		addr = env
	}
	return cmd.Flags().String("addr", addr,
		"admin address of any instance (RING_ADDR), host:port or a URL")
}

// newClient takes host:port, :port or a URL.
func newClient(addr string) (*client, error) { return newPatientClient(addr, answerTime) }

// newPatientClient waits up to patience for an answer to begin.
func newPatientClient(addr string, patience time.Duration) (*client, error) {
	text := addr
	if !strings.Contains(text, "://") {
		if strings.HasPrefix(text, ":") {
			text = "127.0.0.1" + text
		}
		if _, _, err := net.SplitHostPort(text); err != nil {
			return nil, usageError("--addr %q is not host:port (such as %s)", addr, defaultAddr)
		}
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, usageError("--addr %q is neither host:port nor a URL", addr)
	}
	// One connection per question, none kept: the command ends with it. No
	// proxy: an admin address is never behind the one for the web.
	transport := &http.Transport{
		DialContext:           (&net.Dialer{Timeout: answerTime}).DialContext,
		ResponseHeaderTimeout: patience,
		DisableCompression:    true,
	}
	return &client{base: u.Scheme + "://" + u.Host, http: &http.Client{Transport: transport}}, nil
}

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
		return exitf(exitFailed, "%s%s is not what an instance answers: %w", c.base, path, err)
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
			return exitf(exitUnreachable, "%s has gone away", c.base)
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
	if json.Unmarshal(text, &said) != nil || said.Error == "" {
		return nil, exitf(exitUnreachable, "%s is not the admin address of an instance (it answers %s)",
			c.base, resp.Status)
	}
	// The library's errors begin with the name of this command.
	return nil, exitf(codeOf(resp.StatusCode), "%s", strings.TrimPrefix(said.Error, "ring: "))
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
	why := err.Error()
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		why = "no answer in time"
	case isRefused(err):
		why = "nothing listens there"
	default:
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			why = wrapped.Err.Error()
		}
	}
	return exitf(exitUnreachable, "no instance at %s: %s (is it running? see --addr and RING_ADDR)",
		strings.TrimPrefix(c.base, "http://"), why)
}
