package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringofservers.dev/ring/trust"
)

func newCACommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ca",
		Short: "Make certificates for a ring, renew and revoke them",
		Long: `A ring that reaches beyond one host has an authority, which says who is who: a
directory with a key, on one host, kept from all others. Each instance has an
identity, a directory that ring node takes with --tls: a key, a certificate with
exactly its name, and the roots that it trusts.

The key of an identity is made where it is used, and only a request travels:

  there  ring ca request dc1/prod/0 --ring prod --out /etc/ring/tls
  here   ring ca issue request.pem --out granted.pem
  there  ring ca install granted.pem --dir /etc/ring/tls

Where all is on one host, or for a test, ring ca issue NAME… makes keys too.`,
		Example: `  ring ca init --ring prod
  ring ca issue 'dc1/prod/{0..2}' --out tls
  ring ca issue alice --role admin --out tls
  ring ca list
  ring ca revoke dc1/prod/1 --reason 'host was sold'
  ring ca rotate`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCAInitCommand(), newCARequestCommand(), newCAIssueCommand(), newCAInstallCommand(),
		newCAListCommand(), newCARevokeCommand(), newCARotateCommand(), newCAPublishCommand(), newCAShowCommand())
	return cmd
}

// caFlags are what most of these commands have.
type caFlags struct {
	dir    string
	asJSON bool
}

func caCommand(cmd *cobra.Command, do func(*cobra.Command, *caFlags, []string) error) *cobra.Command {
	f := &caFlags{}
	cmd.Flags().StringVar(&f.dir, "dir", "ca", "directory of the authority")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print one JSON object")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return caError(do(cmd, f, args)) }
	return cmd
}

// caError gives what package trust refuses its exit code.
func caError(err error) error {
	var exit *exitError
	var refused *trust.Error
	if errors.As(err, &exit) || !errors.As(err, &refused) {
		return err
	}
	code := exitFailed
	switch refused.Reason {
	case trust.ErrMalformed:
		code = exitUsage
	case trust.ErrNotFound:
		code = exitFalse
	case trust.ErrInUse, trust.ErrWrongRing, trust.ErrWrongName, trust.ErrWrongRole, trust.ErrUntrusted,
		trust.ErrBadSignature, trust.ErrKeyMismatch, trust.ErrKeyExposed, trust.ErrRevoked:
		code = exitRefused
	}
	return &exitError{code, err}
}

// openAuthority opens the directory that the caller has named.
func openAuthority(dir string) (*trust.Authority, error) {
	a, err := trust.OpenAuthority(dir)
	if errors.Is(err, trust.ErrNotFound) {
		return nil, &exitError{exitUsage, err}
	}
	return a, err
}

// named gives the error of a file that the caller has named, and that is not there, its exit code.
func named(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &exitError{exitUsage, err}
	}
	return err
}

// life is a duration that a person may write in days, weeks and years.
type life time.Duration

var lifeUnits = []struct {
	unit string
	is   time.Duration
}{{"y", 365 * 24 * time.Hour}, {"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}}

const lifeMax = 100 * 365 * 24 * time.Hour

func (l *life) Set(text string) error {
	d, err := time.ParseDuration(text)
	for _, u := range lifeUnits {
		if number, ok := strings.CutSuffix(text, u.unit); ok {
			var n uint64
			if n, err = strconv.ParseUint(number, 10, 16); err == nil {
				d = min(time.Duration(n), lifeMax/u.is+1) * u.is
			}
			break
		}
	}
	if err != nil || d <= 0 || d > lifeMax {
		return errors.New("write a time such as 30d, 10y, 2w or 12h, up to 100y")
	}
	*l = life(d)
	return nil
}

// parseLife reads a life from text.
func parseLife(text string) (time.Duration, error) {
	var l life
	err := l.Set(text)
	return time.Duration(l), err
}

func (l *life) String() string {
	for _, u := range lifeUnits {
		if d := time.Duration(*l); d > 0 && d%u.is == 0 {
			return strconv.FormatInt(int64(d/u.is), 10) + u.unit
		}
	}
	return time.Duration(*l).String()
}

func (l *life) Type() string { return "time" }

func addLifeFlag(cmd *cobra.Command, is time.Duration, usage string) *life {
	l := life(is)
	cmd.Flags().Var(&l, "life", usage)
	return &l
}

// authorityReport is what init and rotate answer with --json.
type authorityReport struct {
	V        int       `json:"v"`
	Ring     string    `json:"ring"`
	Dir      string    `json:"dir"`
	Rotating bool      `json:"rotating"`
	Roots    []pemItem `json:"roots"` // that count, the newest first
}

func reportOf(a *trust.Authority, dir string) (authorityReport, error) {
	r := authorityReport{V: 1, Ring: a.Ring(), Dir: dir, Rotating: a.Rotating()}
	items, err := pemItems("ca.pem", a.Roots())
	for _, i := range items {
		if i.Kind == kindRoot {
			r.Roots = append(r.Roots, i)
		}
	}
	return r, err
}

// report says what an authority is now, and then what to do next.
func report(cmd *cobra.Command, a *trust.Authority, f *caFlags, format string, args ...any) error {
	r, err := reportOf(a, f.dir)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if f.asJSON {
		return printJSON(out, r)
	}
	_, err = fmt.Fprintf(out, format+"\n", args...)
	for _, root := range r.Roots {
		_, more := fmt.Fprintf(out, "root  %s, until %s, SHA-256 %s\n", root.Who, day(root.Until), root.SHA256)
		err = errors.Join(err, more)
	}
	return err
}

func day(t *time.Time) string {
	if t == nil {
		return "–"
	}
	return t.UTC().Format("2006-01-02 15:04 MST")
}

func newCAInitCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make the authority of a ring",
		Long: `Init makes a directory with the authority of a ring: a key and its root. Whoever
has ca.key is the ring, so keep it on one host, off the fleet if you can, and
back the directory up where nobody else reads it.`,
		Example: `  ring ca init --ring prod
  ring ca init --ring prod --dir prod-ca --life 5y`,
		Args: cobra.NoArgs,
	}
	ringName := cmd.Flags().String("ring", "ring", "name of the ring")
	lasts := addLifeFlag(cmd, 10*365*24*time.Hour, "how long its root is valid")
	return caCommand(cmd, func(cmd *cobra.Command, f *caFlags, _ []string) error {
		a, err := trust.Init(f.dir, *ringName, time.Duration(*lasts))
		if err != nil {
			return err
		}
		return report(cmd, a, f, "authority of ring %s is in %s; let nobody else have %[2]s/ca.key",
			a.Ring(), f.dir)
	})
}

func newCARotateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Replace the root of the authority, in two steps",
		Long: `Rotate makes a new root, which the old one signs, and destroys the old key. From
then on certificates are signed by the new one, and both count; instances that
know only the old root take the new one by that signature. Where an instance has the authority
(ring node --authority) all renew by themselves, within seconds, and no link breaks; who is
away does when it is back. Else issue new certificates in your own time. Then --finish: the old
root counts no more.

Finish refuses, with exit code 5, while somebody's newest certificate is of the old
root. --force does it all the same, and they are out until they get a new one. If
the key of the authority was stolen do both at once, and issue all certificates anew:
until each host has the new ca.pem, whoever has the stolen key can still issue
certificates that it takes.`,
		Example: `  ring ca rotate
  ring ca rotate --finish
  ring ca rotate && ring ca rotate --finish --force   # the key was stolen`,
		Args: cobra.NoArgs,
	}
	finish := cmd.Flags().Bool("finish", false, "end the rotation that is under way")
	force := cmd.Flags().Bool("force", false, "with --finish, also where certificates of the old root are in use")
	return caCommand(cmd, func(cmd *cobra.Command, f *caFlags, _ []string) error {
		if *force && !*finish {
			return usageError("--force goes with --finish")
		}
		a, err := openAuthority(f.dir)
		if err != nil {
			return err
		}
		if *finish {
			if err := a.FinishRotation(*force); err != nil {
				return err
			}
			return report(cmd, a, f, "the rotation is finished; "+spreads, f.dir)
		}
		if err := a.Rotate(); err != nil {
			return err
		}
		return report(cmd, a, f, "there is a new root; "+spreads+"; once all have new certificates "+
			"(ring ca list): ring ca rotate --finish", f.dir)
	})
}

// spreads is how the instances come to know what the authority says.
const spreads = "an instance with --authority %s tells the ring within a second; is there none, do so with " +
	"ring ca publish"

// issuedReport is what list and revoke answer with --json.
type issuedReport struct {
	V            int         `json:"v"`
	Ring         string      `json:"ring"`
	Rotating     bool        `json:"rotating"`
	Certificates []issuedOne `json:"certificates"`
}

type issuedOne struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Role      string     `json:"role"`
	Serial    string     `json:"serial"`
	Hosts     []string   `json:"hosts"`
	Authority string     `json:"authority"`
	From      time.Time  `json:"not_before"`
	Until     time.Time  `json:"not_after"`
	State     string     `json:"state"` // valid, expired or revoked
	Revoked   *time.Time `json:"revoked,omitempty"`
	Reason    string     `json:"reason,omitempty"`
}

const (
	stateValid   = "valid"
	stateExpired = "expired"
	stateEarly   = "not yet valid"
	stateRevoked = "revoked"
)

func issuedOf(c trust.Issued, now time.Time) issuedOne {
	one := issuedOne{
		ID: c.ID.String(), Name: c.ID.Name, Role: c.ID.Role.String(), Serial: c.Serial,
		Hosts: append([]string{}, c.Hosts...), Authority: c.Issuer, From: c.NotBefore, Until: c.NotAfter,
		State: stateValid, Reason: c.Reason,
	}
	switch {
	case !c.Revoked.IsZero():
		one.State, one.Revoked = stateRevoked, &c.Revoked
	case now.After(c.NotAfter):
		one.State = stateExpired
	}
	return one
}

func (r issuedReport) print(out io.Writer) error {
	p := paintFor(out)
	rows := [][]cell{head("NAME", "ROLE", "STATE", "UNTIL", "SERIAL", "AUTHORITY")}
	for _, c := range r.Certificates {
		state := cell{text: c.State}
		switch c.State {
		case stateRevoked:
			state.color = red
			if c.Reason != "" {
				state.text += " (" + shown(c.Reason) + ")"
			}
		case stateExpired:
			state.color = dim
		}
		rows = append(rows, []cell{
			{text: c.Name}, {text: c.Role}, state, {text: day(&c.Until)}, {text: c.Serial}, {text: c.Authority},
		})
	}
	return printTable(out, p, rows)
}

func newCAListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List what was issued and is valid",
		Example: `  ring ca list
  ring ca list --revoked
  ring ca list --all --json | jq -r '.certificates[].id'`,
		Args: cobra.NoArgs,
	}
	expired := cmd.Flags().Bool("expired", false, "list what has expired")
	revoked := cmd.Flags().Bool("revoked", false, "list what was revoked")
	all := cmd.Flags().Bool("all", false, "list everything")
	cmd.MarkFlagsMutuallyExclusive("expired", "revoked", "all")
	return caCommand(cmd, func(cmd *cobra.Command, f *caFlags, _ []string) error {
		a, err := openAuthority(f.dir)
		if err != nil {
			return err
		}
		issued, err := a.Issued()
		if err != nil {
			return err
		}
		want := stateValid
		switch {
		case *expired:
			want = stateExpired
		case *revoked:
			want = stateRevoked
		}
		r := issuedReport{V: 1, Ring: a.Ring(), Rotating: a.Rotating(), Certificates: []issuedOne{}}
		for _, c := range issued {
			if one := issuedOf(c, time.Now()); *all || one.State == want {
				r.Certificates = append(r.Certificates, one)
			}
		}
		if f.asJSON {
			return printJSON(cmd.OutOrStdout(), r)
		}
		return r.print(cmd.OutOrStdout())
	})
}

func newCARevokeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "revoke NAME|SERIAL",
		Short: "Revoke the certificates of somebody, or one by its serial number",
		Long: `Revoke puts what was issued for a name and is still valid, or one certificate, on
the revocation list, ca/crl.pem. It counts for an instance once it has that list: from an
instance with --authority within a second, or by ring ca publish; or copy it beside an
identity and reload that instance.`,
		Example: `  ring ca revoke dc1/prod/1 --reason 'host was sold'
  ring ca revoke alice
  ring ca revoke alice --role admin   # and not who reads by that name
  ring ca revoke 4f0c2a918b7d6e5f4c3b2a1908f7e6d5`,
		Args: cobra.ExactArgs(1),
	}
	role := cmd.Flags().String("role", "", "instance, admin or read, where the name was given to more than one")
	reason := cmd.Flags().String("reason", "", "why, for whoever reads the list")
	return caCommand(cmd, func(cmd *cobra.Command, f *caFlags, args []string) error {
		a, err := openAuthority(f.dir)
		if err != nil {
			return err
		}
		var gone []trust.Issued
		if isSerial(args[0]) {
			gone, err = a.RevokeSerial(args[0], *reason)
		} else {
			var id trust.ID
			if id, err = holder(a, args[0], *role); err == nil {
				gone, err = a.Revoke(id, *reason)
			}
		}
		if err != nil {
			return err
		}
		r := issuedReport{V: 1, Ring: a.Ring(), Rotating: a.Rotating()}
		for _, c := range gone {
			r.Certificates = append(r.Certificates, issuedOf(c, time.Now()))
		}
		out := cmd.OutOrStdout()
		if f.asJSON {
			return printJSON(out, r)
		}
		if err := r.print(out); err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, spreads+"\n", f.dir)
		return err
	})
}

// holder is whose certificates a name means: of that role, or, if that is empty, of the only one
// that has valid ones by the name, or ever had some.
func holder(a *trust.Authority, name, role string) (trust.ID, error) {
	issued, err := a.Issued()
	if err != nil || strings.Contains(name, "://") {
		id, bad := idOf(name, a.Ring(), role)
		return id, errors.Join(err, bad)
	}
	var valid, all []string
	for _, c := range issued {
		is := c.ID.Role.String()
		if c.ID.Name != name {
			continue
		}
		if !slices.Contains(all, is) {
			all = append(all, is)
		}
		if issuedOf(c, time.Now()).State == stateValid && !slices.Contains(valid, is) {
			valid = append(valid, is)
		}
	}
	switch {
	case role != "" && len(all) > 0 && !slices.Contains(all, role):
		if _, err := trust.ParseRole(role); err != nil {
			return trust.ID{}, err
		}
		return trust.ID{}, exitf(exitFalse, "nothing was issued for %s as %s, but as %s: give that --role", name, role,
			strings.Join(all, " and "))
	case role == "" && len(valid) > 1:
		return trust.ID{}, usageError("%s has certificates as %s: say which with --role", name, strings.Join(valid, " and "))
	case role == "" && len(valid) == 1:
		role = valid[0]
	case role == "" && len(all) > 0: // there is nothing to do, for none of them
		role = all[0]
	case role == "":
		role = trust.Instance.String()
	}
	return idOf(name, a.Ring(), role)
}

// isSerial says whether text is what list shows as a serial number.
func isSerial(text string) bool {
	return len(text) == 32 && strings.Trim(text, "0123456789abcdef") == ""
}

// idOf reads a name, or a whole URI.
func idOf(name, ringName, role string) (trust.ID, error) {
	if strings.Contains(name, "://") {
		return trust.ParseID(name)
	}
	r, err := trust.ParseRole(role)
	if err != nil {
		return trust.ID{}, err
	}
	id := trust.ID{Role: r, Ring: ringName, Name: name}
	return id, id.Check()
}
