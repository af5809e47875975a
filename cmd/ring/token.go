package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"
)

func newTokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Give operators tokens, list them, and revoke them",
		Long: `A token is what an operator or a program shows to instances on other hosts
(--token, RING_TOKEN, RING_TOKEN_FILE; over HTTP: Authorization: Bearer). It has a name and
a role: read may know everything and change nothing, admin may do everything. All instances
of the ring know it, also those without a quorum; they keep a hash of it, and nobody can
print it a second time.

To create and to revoke one needs the role admin and a quorum.`,
		Example: `  ring token create ci --role read --expires 90d > ci.token
  ring status --addr https://dc1-prod-0:3000 --ca ca.pem --token @ci.token
  ring token list
  ring token revoke ci`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newTokenCreateCommand(), newTokenListCommand(), newTokenRevokeCommand())
	return cmd
}

// tokenShown is what an instance tells of a token.
type tokenShown struct {
	Name    string     `json:"name"`
	Token   string     `json:"token"`
	Role    string     `json:"role"`
	Created time.Time  `json:"created"`
	Expires *time.Time `json:"expires"`
	Expired bool       `json:"expired"`
	By      string     `json:"by"`
}

func newTokenCreateCommand() *cobra.Command {
	var role, expires string
	cmd := busCommand(&cobra.Command{
		Use:   "create NAME --role read|admin",
		Short: "Make a token and print it, once",
		Long: `Create makes a token and prints it: keep it, it is not to be had again. With --expires it
counts for that long, 90d or 12h, else until it is revoked. A name is free again once its
token is revoked; exit code 3 says that there is one of that name.`,
		Example: `  ring token create ci --role read --expires 90d > ci.token
  ring token create alice --role admin --json | jq -r .token`,
		Args: cobra.ExactArgs(1),
	}, func(cmd *cobra.Command, c *client, f *busFlags, args []string) error {
		query := f.query()
		query.Set("role", role)
		if expires != "" {
			life, err := parseLife(expires)
			if err != nil {
				return usageError("--expires: %w", err)
			}
			query.Set("expires", life.String())
		}
		text, err := c.ask(cmd.Context(), http.MethodPost, tokenPath(args[0], query), nil)
		if err != nil || f.json {
			return printed(cmd, text, err)
		}
		var t tokenShown
		if err := json.Unmarshal(text, &t); err != nil || t.Token == "" {
			return c.strange(fmt.Errorf("no token: %w", err))
		}
		cmd.PrintErrf("token %s may %s, until %s; this is the only time that it is shown:\n", t.Name,
			map[string]string{"read": "read", "admin": "do everything"}[t.Role], cmp.Or(expiryText(t), "it is revoked"))
		_, err = fmt.Fprintln(cmd.OutOrStdout(), t.Token)
		return err
	})
	cmd.Flags().StringVar(&role, "role", "", "what it is for: read or admin")
	cmd.Flags().StringVar(&expires, "expires", "", "for how long it counts, such as 90d or 12h (default until revoked)")
	_ = cmd.MarkFlagRequired("role") // it exists: it was made two lines above
	return cmd
}

func newTokenListCommand() *cobra.Command {
	return busCommand(&cobra.Command{
		Use:     "list",
		Short:   "List the tokens, with their roles, and until when they count",
		Long:    `List shows the tokens of the ring, those that have expired too. It needs a quorum.`,
		Example: "  ring token list\n  ring token list --json | jq '.tokens[] | select(.expired)'",
		Args:    cobra.NoArgs,
	}, func(cmd *cobra.Command, c *client, f *busFlags, _ []string) error {
		text, err := c.ask(cmd.Context(), http.MethodGet, "/v1/tokens?"+f.query().Encode(), nil)
		if err != nil || f.json {
			return printed(cmd, text, err)
		}
		var answer struct {
			Tokens []tokenShown `json:"tokens"`
		}
		if err := json.Unmarshal(text, &answer); err != nil {
			return c.strange(err)
		}
		out := cmd.OutOrStdout()
		if len(answer.Tokens) == 0 {
			_, err := fmt.Fprintln(out, "no tokens")
			return err
		}
		rows := [][]cell{head("NAME", "ROLE", "CREATED", "EXPIRES", "BY")}
		for _, t := range answer.Tokens {
			until, color := cmp.Or(expiryText(t), "–"), ""
			if t.Expired {
				until, color = until+" (expired)", yellow
			}
			rows = append(rows, []cell{
				{shown(t.Name), "", false},
				{t.Role, "", false},
				{t.Created.UTC().Format(time.DateOnly), dim, false},
				{until, color, false},
				{shown(t.By), dim, false},
			})
		}
		return printTable(out, paintFor(out), rows)
	})
}

func newTokenRevokeCommand() *cobra.Command {
	return busCommand(&cobra.Command{
		Use:   "revoke NAME",
		Short: "Have a token count no more",
		Long: `Revoke removes a token: at once at the instance that is asked, and at the others as soon as
they hear of it. One that is cut off does not, and takes it until then. Exit code 3 says that
there is no such token.`,
		Example: "  ring token revoke ci",
		Args:    cobra.ExactArgs(1),
	}, func(cmd *cobra.Command, c *client, f *busFlags, args []string) error {
		text, err := c.ask(cmd.Context(), http.MethodDelete, tokenPath(args[0], f.query()), nil)
		if err != nil || f.json {
			return printed(cmd, text, err)
		}
		return nil
	})
}

func tokenPath(name string, query url.Values) string {
	return "/v1/tokens/" + pathPart(name) + "?" + query.Encode()
}

// expiryText is until when a token counts, nothing if that is for ever.
func expiryText(t tokenShown) string {
	if t.Expires == nil {
		return ""
	}
	return t.Expires.UTC().Format("2006-01-02 15:04 MST")
}
