package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"ringofservers.dev/ring"
)

// release is set by a release build: -ldflags "-X main.release=v1.2.3".
var release string

// build says what this binary was made from.
type build struct {
	V        int    `json:"v"`
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Time     string `json:"time"`
	Modified bool   `json:"modified"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	Protocol int    `json:"protocol"` // between instances
}

// text is the version and its revision, as instances tell each other.
func (b build) text() string { return strings.TrimSpace(b.Version + " " + b.Revision) }

// readBuild asks the binary itself; a release build may override the version.
func readBuild() build {
	b := build{
		V: 1, Version: "devel", Go: runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH, Protocol: ring.Protocol,
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		if v := info.Main.Version; v != "" && v != "(devel)" {
			b.Version = v
		}
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.Revision = s.Value
			case "vcs.time":
				b.Time = s.Value
			case "vcs.modified":
				b.Modified = s.Value == "true"
			}
		}
	}
	if release != "" {
		b.Version = release
	}
	return b
}

func newVersionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print what this binary was built from",
		Long: `Version prints the version, the source revision, the Go version, the platform, and the
protocol that it speaks between instances: it does so with those of the protocol before it,
and with those of the one after it.`,
		Example: "  ring version --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b := readBuild()
			if asJSON {
				text, err := json.MarshalIndent(b, "", "  ")
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", text)
				return err
			}
			source := ""
			if len(b.Revision) >= 12 {
				source = ", source " + b.Revision[:12]
			}
			if b.Modified {
				source += " with changes"
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "ring %s (%s %s%s, protocol %d)\n",
				b.Version, b.Go, b.Platform, source, b.Protocol)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}
