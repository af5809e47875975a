package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"

	"github.com/spf13/cobra"

	"ringofservers.dev/admin"
	"ringofservers.dev/enroll"
	"ringofservers.dev/ring"
	"ringofservers.dev/ring/trust"
)

// enrolment is what an instance with an identity has to do with certificates: its own, and,
// where it has the authority, those of all. Without an identity it is nil.
type enrolment struct {
	ring   *ring.Ring
	store  *trust.Store
	desk   *enroll.Desk
	issuer *enroll.Issuer // nil: this one gives none
	logger *slog.Logger
}

func newEnrolment(s settings, r *ring.Ring, store *trust.Store, logger *slog.Logger) (*enrolment, error) {
	switch {
	case store == nil && s.Authority != "":
		return nil, usageError("authority is of use beside tls only: give this instance an identity, too")
	case store == nil:
		return nil, nil
	}
	e := &enrolment{ring: r, store: store, logger: logger}
	if s.Authority != "" {
		a, err := trust.OpenAuthority(s.Authority)
		if err != nil {
			return nil, exitf(exitUsage, "authority: %w", err)
		}
		e.issuer, err = enroll.Serve(r, store, a, enroll.IssuerOptions{Life: s.CertificateLife, Logger: logger})
		if err != nil {
			return nil, exitf(exitUsage, "%w", err)
		}
	}
	e.desk = enroll.NewDesk(r, store, e.issuer, s.Preset, logger)
	return e, nil
}

// routes are what is asked of it over HTTP.
func (e *enrolment) routes() []admin.Route {
	if e == nil {
		return nil
	}
	return []admin.Route{
		// Who has no certificate yet asks for one with what an invitation has signed.
		{Pattern: "GET " + enroll.RootPath, Need: admin.Open, Serve: e.desk.Roots},
		{Pattern: "POST " + enroll.JoinPath, Need: admin.Open, Serve: e.desk.Join},
		{Pattern: "POST " + enroll.RootPath, Need: admin.ToChange, Serve: e.desk.Published},
		{Pattern: "POST /v1/invites/{name...}", Need: admin.ToChange, Serve: e.invite},
	}
}

func (e *enrolment) invite(w http.ResponseWriter, req *http.Request) {
	e.desk.Invite(w, req, admin.CallerOf(req).String())
}

// run renews, and gives, until ctx ends.
func (e *enrolment) run(ctx context.Context) {
	if e == nil {
		return
	}
	var all sync.WaitGroup
	if e.issuer != nil {
		all.Go(func() { e.issuer.Run(ctx) })
	}
	enroll.Keep(ctx, e.ring, e.store, e.logger)
	all.Wait()
	if e.issuer != nil {
		e.issuer.Close()
	}
}

func newCAPublishCommand() *cobra.Command {
	var dir string
	cmd := busCommand(&cobra.Command{
		Use:   "publish",
		Short: "Tell a running ring which roots count and what is revoked",
		Long: `Publish brings what the authority says of its roots and of what it has revoked, which is
signed by it, to the whole ring: for one that has no instance with the authority (ring node
--authority), which does so by itself. Instances take it within a second, those that are away
when they are back; links with whom was revoked end.

It needs the role admin and a quorum. Of the directory it reads ca.pem and crl.pem.`,
		Example: `  ring ca revoke dc1/prod/1 --reason 'host was sold'
  ring ca publish --addr https://dc1-prod-0:3000 --ca ca/ca.pem --token @admin.token`,
		Args: cobra.NoArgs,
	}, func(cmd *cobra.Command, c *client, f *busFlags, _ []string) error {
		var said [2][]byte
		for i, name := range [2]string{"ca.pem", "crl.pem"} {
			var err error
			if said[i], err = readAtMost(cmd, filepath.Join(dir, name), pemMax); err != nil {
				return usageError("--dir: %w", err)
			}
		}
		body, err := json.Marshal(map[string]any{"v": 1, "roots": said[0], "revoked": said[1]})
		if err != nil {
			return err
		}
		text, err := c.ask(cmd.Context(), http.MethodPost, enroll.RootPath+"?"+f.query().Encode(), bytes.NewReader(body))
		if err != nil || f.json {
			return printed(cmd, text, err)
		}
		var told struct {
			News bool `json:"news"`
		}
		if err := json.Unmarshal(text, &told); err != nil {
			return c.strange(err)
		}
		word := "the ring knew it already"
		if told.News {
			word = "told; instances take it within a second"
		}
		cmd.Println(word)
		return nil
	})
	cmd.Flags().StringVar(&dir, "dir", "ca", "directory of the authority")
	return cmd
}

// setCertificateLife takes a life of certificates that an issuer gives.
func setCertificateLife(d *draft, text string) error {
	l, err := parseLife(text)
	if err != nil {
		return err
	}
	if l < enroll.LifeMin || l > enroll.LifeMax {
		return errors.New("a certificate lives for 1m to 398d")
	}
	d.CertificateLife = l
	return nil
}
