package supervise

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"

	"ringofservers.dev/guard"
)

// Check looks at an application once. It is healthy if that returns nil, which it must
// do before ctx ends or soon after. Only one look is under way at a time.
type Check func(ctx context.Context) error

// HTTP is well with an answer of 200 to 399 to a GET of url; redirections are not
// followed. It makes a connection of its own each time: one that was kept would say
// nothing of whether new ones are taken.
func HTTP(url string) Check {
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err // it names the method and the url
		}
		defer resp.Body.Close()
		if resp.StatusCode < 200 || resp.StatusCode > 399 {
			return fmt.Errorf("GET %s: %s", req.URL.Redacted(), resp.Status)
		}
		// An answer of which only the head comes is none.
		if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, bodyMax)); err != nil {
			return fmt.Errorf("GET %s: read the answer: %w", req.URL.Redacted(), err)
		}
		return nil
	}
}

// bodyMax bounds in bytes what is read of an answer.
const bodyMax = 1 << 20

// TCP is well if a connection to addr, host:port, can be made.
func TCP(addr string) Check {
	return func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

// Command is well if these words end with exit code 0. What they print is discarded.
// Env is as of exec.Cmd. When ctx ends they are killed, with what they have started.
func Command(words, env []string) Check {
	return func(ctx context.Context) error {
		if err := guard.Brief(ctx, words, env, nil); err != nil {
			return fmt.Errorf("%s: %w", words[0], err)
		}
		return nil
	}
}
