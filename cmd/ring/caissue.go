package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringofservers.dev/ring"
	"ringofservers.dev/ring/trust"
)

// pendingFile has the key of a request until its certificate is installed.
const (
	pendingFile = "pending.pem"
	requestFile = "request.pem"
)

// grant is a request or a certificate, as request, issue and install answer it.
type grant struct {
	V      int        `json:"v"`
	ID     string     `json:"id"`
	Hosts  []string   `json:"hosts"`
	Key    string     `json:"key_sha256"` // of the public key: compare it on both hosts
	Until  *time.Time `json:"not_after,omitempty"`
	Serial string     `json:"serial,omitempty"`
	Root   string     `json:"root_sha256,omitempty"` // of install: the authority that is trusted from then on
	Path   string     `json:"path"`
}

// grantOf is that of a certificate of id, which is at path.
func grantOf(id trust.ID, leaf *x509.Certificate, path string) grant {
	return grant{
		V: 1, ID: id.String(), Hosts: append([]string{}, trust.HostsOf(leaf)...), Until: &leaf.NotAfter,
		Serial: fmt.Sprintf("%x", leaf.SerialNumber), Key: keyPrint(leaf.RawSubjectPublicKeyInfo), Path: path,
	}
}

func keyPrint(publicDER []byte) string {
	sum := sha256.Sum256(publicDER)
	return hex.EncodeToString(sum[:])
}

func newCARequestCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "request NAME",
		Short: "Make a key here, and a request that the authority can sign",
		Long: `Request makes the key of an identity, where it will be used, and a request: the
file request.pem, which may travel. The key stays in pending.pem until the
authority's answer is installed; an identity that is in use stays as it is.`,
		Example: `  ring ca request dc1/prod/0 --ring prod --out /etc/ring/tls
  ring ca request alice --ring prod --role admin --out ~/.ring
  ring ca request dc1/prod/0 --ring prod --host node1.example.com --host 10.0.0.1`,
		Args: cobra.ExactArgs(1),
	}
	ringName := cmd.Flags().String("ring", "ring", "name of the ring")
	role := cmd.Flags().String("role", "instance", "instance, admin or read")
	out := cmd.Flags().String("out", "tls", "directory of the identity")
	hosts := cmd.Flags().StringArray("host", nil, "name or address under which browsers will find it; may be repeated")
	force := cmd.Flags().Bool("force", false, "give up a request that was made before")
	asJSON := cmd.Flags().Bool("json", false, "print one JSON object")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		g, err := makeRequest(args[0], *ringName, *role, *out, *hosts, *force)
		if err != nil {
			return caError(err)
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), g)
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "request of %s, key SHA-256 %s\n"+
			"take %s to the authority:  ring ca issue request.pem --out granted.pem\n"+
			"and bring its answer here:  ring ca install granted.pem --dir %s\n", g.ID, g.Key, g.Path, *out)
		return err
	}
	return cmd
}

func makeRequest(name, ringName, role, dir string, hosts []string, force bool) (grant, error) {
	id, err := idOf(name, ringName, role)
	if err != nil {
		return grant{}, err
	}
	pending, path := filepath.Join(dir, pendingFile), filepath.Join(dir, requestFile)
	if _, err := os.Lstat(pending); !errors.Is(err, fs.ErrNotExist) && !force {
		return grant{}, exitf(exitRefused, "there is a request in %s already: take %s to the authority, or give "+
			"it up with --force", dir, path)
	}
	csr, key, err := trust.NewRequest(id, hosts)
	if err != nil {
		return grant{}, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return grant{}, err
	}
	if err := errors.Join(replaceFile(pending, key), replaceFile(path, csr)); err != nil {
		return grant{}, err
	}
	r, err := trust.ReadRequest(csr)
	return grant{V: 1, ID: id.String(), Hosts: append([]string{}, r.Hosts...), Key: keyPrint(r.Key), Path: path}, err
}

func newCAIssueCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "issue REQUEST-FILE | NAME…",
		Short: "Sign a request, or make whole identities here",
		Long: `Issue signs what a request asks for, and writes one file to bring back: the
certificate, the roots and the revocation list, none of them secret. Compare the
key's SHA-256 with what ring ca request has shown: whoever can exchange the file on
its way can ask for that name with a key of his own.

With names, or patterns of them, it makes keys too, and a directory for each: for
tests, and where all is on one host. Such a key was here, and travels if the
directory does. --host is for browsers; instances look at the name alone.`,
		Example: `  ring ca issue request.pem --out granted.pem
  ring ca issue 'dc{1..3}/prod/{0..1}' --out tls
  ring ca issue alice --role admin --life 1d --out tls`,
		Args: cobra.MinimumNArgs(1),
	}
	role := cmd.Flags().String("role", "", "instance, admin or read (default instance, or what the request asks)")
	out := cmd.Flags().String("out", "", "file for the answer to a request (default granted.pem, - is standard "+
		"output), or directory for identities (default .)")
	hosts := cmd.Flags().StringArray("host", nil, "with NAME: name or address for browsers; may be repeated")
	lasts := addLifeFlag(cmd, 30*24*time.Hour, "how long it is valid")
	return caCommand(cmd, func(cmd *cobra.Command, f *caFlags, args []string) error {
		a, err := openAuthority(f.dir)
		if err != nil {
			return err
		}
		if len(args) == 1 && isRequest(args[0]) {
			if len(*hosts) > 0 {
				return usageError("--host goes with names: a request says itself which hosts it is for")
			}
			return answerRequest(cmd, f, a, args[0], *role, *out, time.Duration(*lasts))
		}
		return makeIdentities(cmd, f, a, args, cmp.Or(*role, "instance"), cmp.Or(*out, "."), *hosts,
			time.Duration(*lasts))
	})
}

// isRequest says whether an argument is a file: no name of an instance is also one of a
// file with a request in it, but by an accident.
func isRequest(path string) bool {
	if path == "-" || strings.HasSuffix(path, ".pem") || strings.HasSuffix(path, ".csr") {
		return true
	}
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func answerRequest(cmd *cobra.Command, f *caFlags, a *trust.Authority, path, role, out string, lasts time.Duration) error {
	csr, err := readAtMost(cmd, path, pemMax)
	if err != nil {
		return named(fmt.Errorf("read the request: %w", err))
	}
	r, err := trust.ReadRequest(csr)
	if err != nil {
		return err
	}
	want := r.ID
	if role != "" {
		if want.Role, err = trust.ParseRole(role); err != nil {
			return err
		}
	}
	chain, err := a.Sign(csr, want, lasts)
	if err != nil {
		return err
	}
	answer := bytes.Join([][]byte{chain, a.Roots(), a.Revoked()}, nil)
	out = cmp.Or(out, "granted.pem")
	say := cmd.OutOrStdout()
	if out == "-" {
		say = cmd.ErrOrStderr()
		_, err = cmd.OutOrStdout().Write(answer)
	} else {
		err = replaceFile(out, answer)
	}
	if err != nil {
		return err
	}
	leaf, err := firstCertificate(chain)
	if err != nil {
		return err
	}
	sayCut(cmd, leaf, lasts)
	g := grantOf(r.ID, leaf, out)
	if f.asJSON {
		return printJSON(say, g)
	}
	hosts := ""
	if len(g.Hosts) > 0 {
		hosts = ", for browsers at " + strings.Join(g.Hosts, ", ")
	}
	_, err = fmt.Fprintf(say, "signed %s until %s%s\nkey SHA-256 %s\nbring %s back:  ring ca install granted.pem --dir …\n",
		g.ID, day(g.Until), hosts, g.Key, out)
	return err
}

// sayCut says where a certificate lives for less long than was asked for.
func sayCut(cmd *cobra.Command, leaf *x509.Certificate, asked time.Duration) {
	if time.Until(leaf.NotAfter) > asked-time.Minute { // it was signed a moment ago
		return
	}
	l := life(asked)
	fmt.Fprintf(cmd.ErrOrStderr(), "not for %s, but until %s only: the root of the authority ends then; ring ca rotate "+
		"makes a new one\n", &l, day(&leaf.NotAfter))
}

func firstCertificate(text []byte) (*x509.Certificate, error) {
	b, _ := pem.Decode(text)
	if b == nil {
		return nil, errors.New("there is no certificate")
	}
	return x509.ParseCertificate(b.Bytes)
}

func makeIdentities(cmd *cobra.Command, f *caFlags, a *trust.Authority, patterns []string, role, out string,
	hosts []string, lasts time.Duration,
) error {
	var ids []trust.ID
	for _, pattern := range patterns {
		names, err := ring.ExpandNames(pattern)
		if err != nil {
			return &exitError{exitUsage, err}
		}
		for _, name := range names {
			id, err := idOf(string(name), a.Ring(), role)
			if err != nil {
				return err
			}
			ids = append(ids, id)
		}
	}
	made := []grant{}
	for _, id := range ids {
		dir := filepath.Join(out, filepath.FromSlash(id.Name))
		if was, err := identityIn(dir); err == nil && was != id {
			return exitf(exitRefused, "%s has the identity of %s: give another --out", dir, was)
		}
		m, err := a.Identity(id, hosts, lasts)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if err := trust.WriteDir(dir, m); err != nil {
			return err
		}
		leaf, err := firstCertificate(m.Certificate)
		if err != nil {
			return err
		}
		made = append(made, grantOf(id, leaf, dir))
		if len(made) == len(ids) {
			sayCut(cmd, leaf, lasts)
		}
	}
	say := cmd.OutOrStdout()
	if f.asJSON {
		return printJSON(say, struct {
			V          int     `json:"v"`
			Identities []grant `json:"identities"`
		}{1, made})
	}
	rows := [][]cell{head("NAME", "ROLE", "UNTIL", "DIRECTORY")}
	for i, g := range made {
		rows = append(rows, []cell{{text: ids[i].Name}, {text: role}, {text: day(g.Until)}, {text: g.Path}})
	}
	if err := printTable(say, paintFor(say), rows); err != nil {
		return err
	}
	_, err := fmt.Fprintln(say, "their keys were made here: move each directory to its host and leave no copy")
	return err
}

// identityIn is whose identity dir has.
func identityIn(dir string) (trust.ID, error) {
	m, err := trust.ReadDir(dir)
	if err != nil {
		return trust.ID{}, err
	}
	leaf, err := firstCertificate(m.Certificate)
	if err != nil {
		return trust.ID{}, err
	}
	return trust.IDOf(leaf)
}

func newCAInstallCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "install GRANTED-FILE",
		Short: "Put the authority's answer beside the key that was made here",
		Long: `Install checks that what ring ca issue has answered fits the key of the request, and
makes it the identity in a directory: key and certificate in one step, so that a
running instance never finds half of it. Reload that (SIGHUP) and it is used. It says
whom is trusted from then on: compare that with ring ca show of the authority's
directory, if somebody may have exchanged the file on its way.`,
		Example: `  ring ca install granted.pem --dir /etc/ring/tls`,
		Args:    cobra.ExactArgs(1),
	}
	dir := cmd.Flags().String("dir", "tls", "directory of the identity, where the request was made")
	asJSON := cmd.Flags().Bool("json", false, "print one JSON object")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		granted, err := readAtMost(cmd, args[0], pemMax)
		if err != nil {
			return named(fmt.Errorf("read the answer: %w", err))
		}
		s, err := install(granted, *dir)
		if err != nil {
			return caError(err)
		}
		g := grantOf(s.ID(), s.Leaf(), *dir)
		pin, err := trust.PinOf(s.Material().Roots)
		if err != nil {
			return err
		}
		g.Root = hex.EncodeToString(pin[:])
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), g)
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s has the identity of %s, until %s\n"+
			"and trusts the authority whose root has the SHA-256 %s\n", *dir, g.ID, day(g.Until), g.Root)
		return err
	}
	return cmd
}

// install makes what the authority has granted the identity in dir.
func install(granted []byte, dir string) (*trust.Store, error) {
	key, err := os.ReadFile(filepath.Join(dir, pendingFile))
	if errors.Is(err, fs.ErrNotExist) { // a new certificate of the key that is in use
		var old trust.Material
		old, err = trust.ReadDir(dir)
		key = old.Key
	}
	if err != nil {
		return nil, err
	}
	// Each part takes from the file what it needs.
	s, err := trust.New(trust.Material{Certificate: granted, Key: key, Roots: granted, Revoked: granted})
	if err != nil {
		return nil, err
	}
	if was, err := identityIn(dir); err == nil && was != s.ID() {
		return nil, exitf(exitRefused, "%s has the identity of %s, and this is one of %s: give another --dir",
			dir, was, s.ID())
	}
	if err := trust.WriteDir(dir, s.Material()); err != nil {
		return nil, err
	}
	for _, name := range []string{pendingFile, requestFile} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return s, nil
}
