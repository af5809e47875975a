package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// paint colours text for a terminal, or leaves it alone.
type paint bool

const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	purple = "35"
)

// paintFor decides once for an output: colour only on a terminal that wants
// it. See https://no-color.org and https://bixense.com/clicolors.
func paintFor(out io.Writer) paint {
	if os.Getenv("NO_COLOR") != "" {
		return false
	}
	if force := os.Getenv("CLICOLOR_FORCE"); force != "" && force != "0" {
		return true
	}
	return paint(isTerminal(out) && os.Getenv("TERM") != "dumb")
}

func (p paint) in(code, text string) string {
	if !p || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// isTerminal says whether a person may be looking at an output, or sitting at an input.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && file.Name() != os.DevNull
}

// shown is what somebody else wrote as it may stand in a line on a terminal: quoted, unless
// all of it can be printed as it is.
func shown(text string) string {
	odd := func(r rune) bool { return !strconv.IsPrint(r) }
	if utf8.ValidString(text) && !strings.ContainsFunc(text, odd) {
		return text
	}
	return strconv.Quote(text)
}

// cell is a piece of a table: what it says, and its colour.
type cell struct {
	text  string
	color string
	right bool // aligned to the right, for numbers
}

// head is the first row of a table: columns whose names begin with > are numbers.
func head(columns ...string) []cell {
	row := make([]cell, len(columns))
	for i, c := range columns {
		text, right := strings.CutPrefix(c, ">")
		row[i] = cell{text, bold, right}
	}
	return row
}

// printTable aligns columns by two spaces. Colours do not count as width, as
// they would in text/tabwriter.
func printTable(out io.Writer, p paint, rows [][]cell) error {
	var width []int
	for _, row := range rows {
		for k, c := range row {
			if k == len(width) {
				width = append(width, 0)
			}
			width[k] = max(width[k], utf8.RuneCountInString(c.text))
		}
	}
	var text strings.Builder
	for _, row := range rows {
		var line strings.Builder
		for k, c := range row {
			pad := strings.Repeat(" ", width[k]-utf8.RuneCountInString(c.text))
			if c.right {
				line.WriteString(pad + p.in(c.color, c.text) + "  ")
			} else {
				line.WriteString(p.in(c.color, c.text) + pad + "  ")
			}
		}
		text.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	_, err := io.WriteString(out, text.String())
	return err
}

// millis prints milliseconds for a person.
func millis(ms float64) string {
	switch {
	case ms <= 0:
		return "–"
	case ms < 1:
		return fmt.Sprintf("%.0f µs", ms*1000)
	case ms < 10:
		return fmt.Sprintf("%.2f ms", ms)
	case ms < 1000:
		return fmt.Sprintf("%.0f ms", ms)
	}
	return fmt.Sprintf("%.2f s", ms/1000)
}

// lapText prints the time of one lap for a person, and the pace of a fast one.
func lapText(took time.Duration) string {
	ms := float64(took) / float64(time.Millisecond)
	if ms > 0 && ms < 20 {
		return fmt.Sprintf("%s (%.0f laps/s)", millis(ms), 1000/ms)
	}
	if ms >= 100 {
		return fmt.Sprintf("%.2f s", ms/1000)
	}
	return millis(ms)
}
