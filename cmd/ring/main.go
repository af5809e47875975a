// Command ring runs an instance of a ring of servers, a whole ring on this
// machine, and asks running instances. Everything is wired by hand, here.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	_ "time/tzdata" // --time-zone does not depend on what the host has

	"github.com/spf13/cobra"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is main without the process: it returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	started := false
	root := newRootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	noteStart(root, &started)

	command, err := root.ExecuteC()
	if err == nil {
		return exitDone
	}
	code := exitFailed
	var exit *exitError
	switch {
	case errors.As(err, &exit):
		code = exit.code
	case !started: // cobra refused the arguments before any command ran
		code = exitUsage
	}
	// The library's errors begin with its name, which is this command's too.
	if text := strings.TrimPrefix(err.Error(), "ring: "); text != "" {
		fmt.Fprintf(stderr, "ring: %s\n", text)
	}
	if !started {
		fmt.Fprintf(stderr, "try: %s --help\n", command.CommandPath())
	}
	return code
}

// noteStart makes every command note that cobra has found nothing wrong with
// its flags and arguments.
func noteStart(cmd *cobra.Command, started *bool) {
	if command := cmd.RunE; command != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			*started = true
			return command(cmd, args)
		}
	}
	for _, sub := range cmd.Commands() {
		noteStart(sub, started)
	}
}

// newRootCommand is the whole tree of commands.
func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "ring",
		Short: "A ring of servers: one particle, ticks in step, deaths known in milliseconds",
		Long: `ring joins servers to a ring. A particle goes round it; its passes are the
fleet's common ticks, and whoever holds a hand that lets go knows it at once.

Commands that ask a running instance take --addr (default 127.0.0.1:3000, or
RING_ADDR) and --json. An instance on another host wants to see who asks: --ca with
a certificate (--cert) or a token (--token), see ring token.

Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 condition false or not
found, 4 no instance reachable, 5 refused, 124 timed out.`,
		Example: `  ring up                                   # eleven instances on this machine
  ring node --name dc1/prod/0 --config ring.toml
  ring status
  ring events -f`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.AddGroup(
		&cobra.Group{ID: "run", Title: "Run:"},
		&cobra.Group{ID: "ask", Title: "Ask and tell a running instance:"},
		&cobra.Group{ID: "offline", Title: "Without an instance:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("run", newUpCommand(), newNodeCommand(), newRunCommand(), newGuardCommand(), newAskCommand())
	add("ask", newStatusCommand(), newDoctorCommand(), newTickCommand(), newEventsCommand(), newBroadcastCommand(),
		newBulkCommand(), newGatherCommand(), newLapCommand(),
		newBusCommand(), newRosterCommand(), newTokenCommand(),
		newLeaveCommand())
	add("offline", newCACommand(), newOverlayCommand(), newSimCommand(), newVersionCommand())
	root.SetHelpCommandGroupID("offline")
	root.SetCompletionCommandGroupID("offline")
	return root
}
