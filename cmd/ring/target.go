package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ringofservers.dev/ring/trust"
)

const defaultAddr = "127.0.0.1:3000"

// target is the instance that a command asks, and what it shows to it.
type target struct {
	addr  string
	ca    string
	cert  string
	key   string
	token string

	flags *pflag.FlagSet // which of them were given; nil: no environment counts either
}

// addAddrFlag gives cmd the flags of every command that asks an instance. A secret of the
// environment is no default of a flag, which help would show.
func addAddrFlag(cmd *cobra.Command) *target {
	t := &target{flags: cmd.Flags()}
	addr := defaultAddr
	if env := os.Getenv("RING_ADDR"); env != "" {
		addr = env
	}
	t.flags.StringVar(&t.addr, "addr", addr,
		"admin address of any instance (RING_ADDR), host:port, https://host:port or unix:///path")
	t.flags.StringVar(&t.ca, "ca", "", "`file` with the roots of the ring, ca.pem, for https (RING_CA)")
	t.flags.StringVar(&t.cert, "cert", "",
		"`file` with your certificate, or directory of your identity, for https (RING_CERT)")
	t.flags.StringVar(&t.key, "key", "", "`file` with its key, if that is another one (RING_KEY)")
	t.flags.StringVar(&t.token, "token", "",
		"a token, or @file with one, which ps does not show (RING_TOKEN, RING_TOKEN_FILE)")
	return t
}

// withEnv fills in from the environment what no flag has given.
func (t target) withEnv() target {
	if t.flags == nil {
		return t
	}
	fill := func(into *string, flag, env, before string) {
		if text := os.Getenv(env); text != "" && *into == "" && !t.flags.Changed(flag) {
			*into = before + text
		}
	}
	fill(&t.ca, "ca", "RING_CA", "")
	fill(&t.cert, "cert", "RING_CERT", "")
	fill(&t.key, "key", "RING_KEY", "")
	fill(&t.token, "token", "RING_TOKEN", "")
	fill(&t.token, "token", "RING_TOKEN_FILE", "@")
	return t
}

// client is for t, and waits up to patience for an answer to begin.
func (t target) client(patience time.Duration) (*client, error) {
	t = t.withEnv()
	// One connection per question, none kept: the command ends with it. No
	// proxy: an admin address is never behind the one for the web.
	transport := &http.Transport{
		DialContext:           (&net.Dialer{Timeout: answerTime}).DialContext,
		TLSHandshakeTimeout:   answerTime,
		ResponseHeaderTimeout: patience,
		DisableCompression:    true,
	}
	c := &client{http: &http.Client{Transport: transport}}
	if path, ok := strings.CutPrefix(t.addr, "unix://"); ok {
		if !strings.HasPrefix(path, "/") {
			return nil, usageError("--addr %q: give the whole path, such as unix:///run/ring.sock", t.addr)
		}
		c.base, c.at = "http://localhost", t.addr
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: answerTime}).DialContext(ctx, "unix", path)
		}
	} else {
		u, err := t.url()
		if err != nil {
			return nil, err
		}
		c.base, c.at = u.Scheme+"://"+u.Host, strings.TrimPrefix(u.Scheme+"://"+u.Host, "http://")
		if u.Scheme == "https" {
			if transport.TLSClientConfig, err = t.tls(); err != nil {
				return nil, err
			}
		}
	}
	var err error
	c.token, err = readToken(t.token)
	return c, err
}

// url takes host:port, :port or a URL. host:port is https where something is given that is
// for that alone. A token goes in the clear to another host only where http:// says so.
func (t target) url() (*url.URL, error) {
	text := t.addr
	bare := !strings.Contains(text, "://")
	if bare {
		if strings.HasPrefix(text, ":") {
			text = "127.0.0.1" + text
		}
		host, _, err := net.SplitHostPort(text)
		switch {
		case err != nil:
			return nil, usageError("--addr %q is not host:port (such as %s)", t.addr, defaultAddr)
		case t.ca != "" || t.cert != "":
			text = "https://" + text
		case t.token != "" && !onThisHost(host):
			return nil, usageError("the token would go to %s in the clear: give --ca (and --addr https://%s), or, "+
				"if the ring has no TLS and you trust the network, --addr http://%s", t.addr, text, text)
		default:
			text = "http://" + text
		}
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, usageError("--addr %q is neither host:port nor a URL (https://host:port, unix:///path)", t.addr)
	}
	return u, nil
}

func onThisHost(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// tls is for asking over https: whoever answers must be an instance of the ring of --ca.
func (t target) tls() (*tls.Config, error) {
	if t.cert == "" {
		switch {
		case t.key != "":
			return nil, usageError("--key goes with --cert: give the certificate too")
		case t.ca == "":
			return nil, usageError("https needs to know whom to believe: give --ca with the ca.pem of the ring, " +
				"or --cert with the directory of your identity")
		}
	}
	m, err := t.material()
	if err != nil {
		return nil, usageError("%w", err)
	}
	if t.cert == "" {
		config, err := trust.Onlooker(m.Roots, m.Revoked)
		if err != nil {
			return nil, usageError("--ca %s: %w", t.ca, err)
		}
		return config, nil
	}
	store, err := trust.New(m)
	if err != nil {
		return nil, usageError("--cert %s: %w", t.cert, err)
	}
	return store.Client(trust.ID{}), nil
}

// material reads what --ca, --cert and --key name. Beside each there may be what goes with
// it, as in the directory of an identity.
func (t target) material() (m trust.Material, err error) {
	ca := t.ca
	if t.cert != "" {
		cert := t.cert
		if info, err := os.Stat(cert); err == nil && info.IsDir() {
			cert = filepath.Join(cert, "identity.pem")
		}
		if m.Certificate, err = readPEM(cert); err != nil {
			return m, fmt.Errorf("--cert: %w", err)
		}
		if ca == "" {
			ca = filepath.Join(filepath.Dir(cert), "ca.pem")
		}
		if m.Key = m.Certificate; t.key != "" {
			m.Key, err = readPEM(t.key)
		}
		if err != nil {
			return m, fmt.Errorf("--key: %w", err)
		}
	}
	if m.Roots, err = readPEM(ca); err != nil {
		return m, fmt.Errorf("--ca: %w", err)
	}
	if m.Revoked, err = readPEM(filepath.Join(filepath.Dir(ca), "crl.pem")); errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return m, err
}

// pemMax bounds a file of PEM in bytes, as package trust does.
const pemMax = 1 << 20

func readPEM(path string) ([]byte, error) { return readFile(path, pemMax) }

// readToken takes a token, or @ and the file that has it.
func readToken(text string) (string, error) {
	if path, ok := strings.CutPrefix(text, "@"); ok {
		b, err := readPEM(path)
		if err != nil {
			return "", usageError("--token: %w", err)
		}
		if text = strings.TrimSpace(string(b)); text == "" {
			return "", usageError("--token: there is nothing in %s", path)
		}
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", usageError("--token: that is no token (ring_…)") // and it is not shown: it may be a secret all the same
	}
	return text, nil
}
