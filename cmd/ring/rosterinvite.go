package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

func newRosterInviteCommand() *cobra.Command {
	var life string
	cmd := busCommand(&cobra.Command{
		Use:   "invite NAME",
		Short: "Print the one command that makes a new host an instance",
		Long: `Invite is for a name of the roster that has no instance yet, or whose host was replaced. It
prints a command to run on the new host: that makes a key there, fetches a certificate for it
from this ring, which it knows by the SHA-256 of the ring's authority, and starts the instance.

The invitation in it is a secret until it is used: it is good for one certificate of that one
name, and takes the place of an earlier one. Ask an instance that has the authority (ring node
--authority), which seals it. Of a ring without TLS there is nothing to fetch: give the new
instance the settings file of the others, with its own name.

It needs the role admin and a quorum. Exit code 5: the name is not in the roster, is in the
ring now, or the instance has not the authority.`,
		Example: `  ring roster add dc4/prod/0 10.0.4.1:3000
  ring roster invite dc4/prod/0
  ring roster invite dc4/prod/0 --life 1h --json | jq -r .invitation`,
		Args: cobra.ExactArgs(1),
	}, func(cmd *cobra.Command, c *client, f *busFlags, args []string) error {
		query := f.query()
		if life != "" {
			d, err := parseLife(life)
			if err != nil {
				return usageError("--life: %w", err)
			}
			query.Set("life", d.String())
		}
		path := "/v1/invites/" + pathPart(args[0]) + "?" + query.Encode()
		text, err := c.ask(cmd.Context(), http.MethodPost, path, nil)
		if err != nil || f.json {
			return printed(cmd, text, err)
		}
		var said struct {
			Invitation string    `json:"invitation"`
			Expires    time.Time `json:"expires"`
		}
		if err := json.Unmarshal(text, &said); err != nil || said.Invitation == "" {
			return c.strange(fmt.Errorf("no invitation: %w", err))
		}
		cmd.PrintErrf("run this on the host of %s, once, until %s; it is shown only now:\n", shown(args[0]),
			said.Expires.UTC().Format(time.RFC3339))
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "ring node --data /var/lib/ring --join '%s'\n", said.Invitation)
		return err
	})
	cmd.Flags().StringVar(&life, "life", "", "for how long it is good, such as 1h or 7d (default 1d; at most 30d)")
	return cmd
}
