package main

import (
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/lmittmann/tint"
)

// newLogger writes to out in a format: auto is coloured on a terminal and text
// elsewhere; text and json are as log/slog prints them. Under systemd's journal
// text has no time: the journal has its own.
func newLogger(out io.Writer, format string, level slog.Leveler) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	switch {
	case format == "json":
		return slog.New(slog.NewJSONHandler(out, options))
	case format != "text" && isTerminal(out):
		return slog.New(tint.NewTextHandler(out, &tint.Options{
			Level: level, TimeFormat: time.TimeOnly + ".000", NoColor: !bool(paintFor(out)),
		}))
	case os.Getenv("JOURNAL_STREAM") != "":
		options.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}
	}
	return slog.New(slog.NewTextHandler(out, options))
}
