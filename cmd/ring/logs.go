package main

import (
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/lmittmann/tint"
)

// newLogger writes to out in a format: auto is coloured on a terminal and text
// elsewhere; text and json are as log/slog prints them, but that json has durations as
// all else that programs read has them: in milliseconds, by the name of KEY_ms. Under
// systemd's journal text has no time: the journal has its own.
func newLogger(out io.Writer, format string, level slog.Leveler) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	switch {
	case format == "json":
		options.ReplaceAttr = inMillis
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

// inMillis has durations say their unit; slog prints bare nanoseconds.
func inMillis(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() != slog.KindDuration {
		return a
	}
	return slog.Float64(a.Key+"_ms", float64(a.Value.Duration())/float64(time.Millisecond))
}
