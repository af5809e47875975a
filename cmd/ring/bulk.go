package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"ringofservers.dev/ring"
)

func newBulkCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "bulk",
		Short: "Show the large payloads that are at an instance, or on their way to it",
		Long: `Bulk lists the payloads of more than 48 KiB that were broadcast and are kept at
one instance, or are on their way to it: how far they are, how fast they came, from whom
they are taken now, and how many take them from there. GET /v1/bulk/NAME has the bytes of
one that is whole.`,
		Example: `  ring bulk
  ring bulk --addr 127.0.0.1:3004 --json`,
		Args: cobra.NoArgs,
	}
	addr := addAddrFlag(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := newClient(*addr)
		if err != nil {
			return err
		}
		text, err := c.raw(cmd.Context(), "/v1/bulk")
		if err != nil || asJSON {
			return printed(cmd, text, err)
		}
		var answer struct {
			Transfers []ring.Transfer `json:"transfers"`
		}
		if err := json.Unmarshal(text, &answer); err != nil {
			return c.strange(err)
		}
		return printTransfers(cmd.OutOrStdout(), answer.Transfers)
	}
	return cmd
}

func printTransfers(out io.Writer, list []ring.Transfer) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(out, "no large payloads")
		return err
	}
	var head []cell
	for _, title := range []string{
		"NAME", "TOPIC", "FROM", "SIZE", "HERE", "STATE", "RATE", "TAKERS", "SOURCES",
	} {
		head = append(head, cell{text: title, color: bold})
	}
	rows := [][]cell{head}
	for _, t := range list {
		rate, color := "–", yellow
		if t.Rate > 0 {
			rate = bytesText(int64(t.Rate)) + "/s"
		}
		if t.State == ring.TransferWhole {
			color = green
		}
		sources := make([]string, len(t.Sources))
		for i, name := range t.Sources {
			sources[i] = string(name)
		}
		rows = append(rows, []cell{
			{text: t.Name[:min(12, len(t.Name))]},
			{text: shown(t.Topic)},
			{text: string(t.From)},
			{text: bytesText(t.Size), right: true},
			{text: fmt.Sprintf("%d %%", t.Have*100/max(t.Size, 1)), right: true},
			{text: t.State, color: color},
			{text: rate, right: true},
			{text: fmt.Sprint(t.Takers), right: true},
			{text: strings.Join(sources, " ")},
		})
	}
	return printTable(out, paintFor(out), rows)
}
