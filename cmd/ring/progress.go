package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// progress shows on a terminal how much of a reader was read. Elsewhere it says nothing.
type progress struct {
	io.Reader
	out   io.Writer
	shows bool
	size  int64 // 0 if nobody knows
	done  int64
	began time.Time
	shown time.Time
}

// clearLine takes away what stands in a terminal's line, and goes to its beginning.
const clearLine = "\r\x1b[K"

// showsProgress is whether a line may be drawn there that changes.
func showsProgress(out io.Writer) bool { return isTerminal(out) && os.Getenv("TERM") != "dumb" }

// progressPace is how often a person is shown something new.
const progressPace = 200 * time.Millisecond

func newProgress(out io.Writer, from io.Reader, size int64) *progress {
	return &progress{Reader: from, out: out, shows: showsProgress(out), size: size, began: time.Now()}
}

func (p *progress) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	p.done += int64(n)
	if now := time.Now(); p.shows && now.Sub(p.shown) >= progressPace {
		p.shown = now
		p.show(now)
	}
	return n, err
}

func (p *progress) show(now time.Time) {
	rate := float64(p.done) / max(now.Sub(p.began).Seconds(), 1e-3)
	fmt.Fprintf(p.out, clearLine+"%s%s  %s/s", barText(p.done, p.size), bytesText(p.done), bytesText(int64(rate)))
}

// end takes the line away.
func (p *progress) end() {
	if p.shows && !p.shown.IsZero() {
		fmt.Fprint(p.out, clearLine)
	}
}

// barText draws how much of size is done; nothing where size is not known.
func barText(done, size int64) string {
	const width = 24
	if size <= 0 || done > size {
		return ""
	}
	full := int(done * width / size)
	return fmt.Sprintf("[%s%s] %3d %%  ", strings.Repeat("#", full), strings.Repeat(".", width-full),
		done*100/size)
}

// sizeOf is how many bytes a file on disk has, 0 for whatever else.
func sizeOf(from io.Reader) int64 {
	if f, ok := from.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			return info.Size()
		}
	}
	return 0
}

// bytesText prints a number of bytes for a person.
func bytesText(bytes int64) string {
	value, unit := float64(bytes), "B"
	for _, next := range []string{"KiB", "MiB", "GiB"} {
		if value < 1024 {
			break
		}
		value, unit = value/1024, next
	}
	if unit == "B" {
		return fmt.Sprintf("%d B", bytes)
	}
	return fmt.Sprintf("%.1f %s", value, unit)
}
