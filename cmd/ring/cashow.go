package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"ringofservers.dev/ring/trust"
)

// The kinds of a pemItem.
const (
	kindIdentity  = "identity"
	kindRoot      = "root"
	kindCross     = "cross"
	kindRevoked   = "revoked"
	kindRequest   = "request"
	kindKey       = "key"
	kindStatement = "statement"
	kindOther     = "other"
)

// pemItem is one block of a file.
type pemItem struct {
	File      string     `json:"file"`
	Kind      string     `json:"kind"`
	Who       string     `json:"who"`
	Authority string     `json:"authority,omitempty"` // who signed it
	From      *time.Time `json:"not_before,omitempty"`
	Until     *time.Time `json:"not_after,omitempty"`
	State     string     `json:"state,omitempty"` // by its time alone
	Serial    string     `json:"serial,omitempty"`
	Hosts     []string   `json:"hosts,omitempty"`
	Number    string     `json:"number,omitempty"`  // of a revocation list
	Entries   int        `json:"entries,omitempty"` // that it has
	SHA256    string     `json:"sha256,omitempty"`
}

// pemItems says what is in a file.
func pemItems(file string, text []byte) ([]pemItem, error) {
	items := []pemItem{}
	for b, rest := pem.Decode(text); b != nil; b, rest = pem.Decode(rest) {
		i := pemItem{File: file, Kind: kindOther, Who: shown(b.Type)}
		var err error
		switch b.Type {
		case "CERTIFICATE":
			err = i.certificate(b.Bytes)
		case "CERTIFICATE REQUEST":
			var r trust.Request
			if r, err = trust.ReadRequest(pem.EncodeToMemory(b)); err == nil {
				i.Kind, i.Who, i.Hosts, i.SHA256 = kindRequest, r.ID.String(), r.Hosts, keyPrint(r.Key)
			}
		case "X509 CRL":
			var l *x509.RevocationList
			if l, err = x509.ParseRevocationList(b.Bytes); err == nil {
				i.Kind, i.Who, i.From = kindRevoked, many(len(l.RevokedCertificateEntries), "certificate"), &l.ThisUpdate
				i.Authority, i.Entries = shown(l.Issuer.CommonName), len(l.RevokedCertificateEntries)
				if l.Number != nil {
					i.Number = l.Number.String()
				}
			}
		case "PRIVATE KEY":
			i.Kind, i.Who = kindKey, "–"
		case "RING ROOTS":
			i.Kind, i.Who = kindStatement, "which roots count"
		}
		if err != nil {
			return nil, usageError("%s: %w", file, err)
		}
		items = append(items, i)
	}
	return items, nil
}

func (i *pemItem) certificate(der []byte) error {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(der)
	i.Who, i.Authority, i.From, i.Until = shown(c.Subject.CommonName), shown(c.Issuer.CommonName), &c.NotBefore, &c.NotAfter
	i.Serial, i.SHA256, i.State = fmt.Sprintf("%x", c.SerialNumber), hex.EncodeToString(sum[:]), stateValid
	switch now := time.Now(); {
	case now.Before(c.NotBefore):
		i.State = stateEarly
	case now.After(c.NotAfter):
		i.State = stateExpired
	}
	switch {
	case !c.IsCA:
		i.Kind, i.Hosts = kindIdentity, trust.HostsOf(c)
		id, err := trust.IDOf(c)
		if err != nil {
			i.Who = "nobody of a ring"
		} else {
			i.Who = id.String()
		}
	case bytes.Equal(c.RawIssuer, c.RawSubject):
		i.Kind = kindRoot
	default:
		i.Kind = kindCross
	}
	return nil
}

// shownReport is what show answers with --json.
type shownReport struct {
	V     int       `json:"v"`
	OK    bool      `json:"ok"`              // an identity: that it can be used now
	Fault string    `json:"fault,omitempty"` // why not
	Items []pemItem `json:"items"`
}

func newCAShowCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show FILE|DIRECTORY",
		Short: "Say who a certificate is of, by whom, and until when",
		Long: `Show says what is in a file of certificates, requests or revocation lists, or in the
directory of an identity or an authority. Of an identity that cannot be used now it
says why, and the exit code is 3.`,
		Example: `  ring ca show /etc/ring/tls
  ring ca show granted.pem
  ring ca show --json tls/dc1/prod/0 | jq -r '.items[0].not_after'`,
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r, err := show(cmd, args[0])
		if err != nil {
			return caError(err)
		}
		if asJSON {
			err = printJSON(cmd.OutOrStdout(), r)
		} else {
			err = r.print(cmd)
		}
		switch {
		case err != nil:
			return err
		case !r.OK && asJSON:
			return &exitError{exitFalse, nil} // the object has said it
		case !r.OK:
			return exitf(exitFalse, "%s", r.Fault)
		}
		return nil
	}
	return cmd
}

func show(cmd *cobra.Command, path string) (shownReport, error) {
	r := shownReport{V: 1, OK: true, Items: []pemItem{}}
	files := []string{path}
	info, err := os.Stat(path)
	if path != "-" && errors.Is(err, fs.ErrNotExist) {
		return r, named(err)
	}
	if err == nil && info.IsDir() {
		files = nil
		names := []string{"identity.pem", requestFile, "ca.pem", "crl.pem"}
		if _, err := os.Stat(filepath.Join(path, "ca.key")); err == nil {
			names = []string{"ca.pem", "crl.pem"}
		} else if _, err := trust.Open(path); err != nil {
			r.OK, r.Fault = false, err.Error()
		}
		for _, name := range names {
			files = append(files, filepath.Join(path, name))
		}
	}
	for _, file := range files {
		text, err := readAtMost(cmd, file, pemMax)
		if errors.Is(err, fs.ErrNotExist) && len(files) > 1 {
			continue
		}
		if err != nil {
			return r, err
		}
		items, err := pemItems(file, text)
		if err != nil {
			return r, err
		}
		r.Items = append(r.Items, items...)
	}
	if len(r.Items) == 0 {
		if r.Fault != "" {
			return r, exitf(exitFalse, "%s", r.Fault)
		}
		return r, exitf(exitFalse, "there is nothing of a certificate in %s", path)
	}
	return r, nil
}

func (r shownReport) print(cmd *cobra.Command) error {
	out := cmd.OutOrStdout()
	rows := [][]cell{head("WHAT", "WHO", "AUTHORITY", "FROM", "UNTIL", "STATE", "FILE")}
	for _, i := range r.Items {
		state := cell{text: i.State}
		if i.State != stateValid {
			state.color = red
		}
		rows = append(rows, []cell{
			{text: i.Kind},
			{text: i.Who},
			{text: i.Authority},
			{text: day(i.From)},
			{text: day(i.Until)},
			state,
			{text: i.File},
		})
	}
	if err := printTable(out, paintFor(out), rows); err != nil {
		return err
	}
	for _, i := range r.Items {
		if i.Kind == kindRoot || i.Kind == kindRequest {
			what := "root"
			if i.Kind == kindRequest {
				what = "key of"
			}
			if _, err := fmt.Fprintf(out, "%s %s: SHA-256 %s\n", what, i.Who, i.SHA256); err != nil {
				return err
			}
		}
	}
	return nil
}
