package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	runner "ringofservers.dev/run"
)

// rolloutShown is a rollout as status shows it.
type rolloutShown struct {
	Name string `json:"name"`
	// State is failed, running, lost, waiting (for somebody's turn) or done; or unreadable.
	State string `json:"state"`
	Of    int    `json:"of"` // instances in all
	runner.Progress
	// Wrong is why it cannot be read; then there is nothing but the name.
	Wrong string `json:"wrong,omitempty"`
}

func showRollout(name string, value []byte, all []runner.Instance, held map[uint64]bool) rolloutShown {
	p, err := runner.ParseProgress(value, all)
	if err != nil {
		return rolloutShown{
			Name: name, State: "unreadable", Wrong: err.Error(), Progress: runner.Progress{Parts: []runner.Part{}},
		}
	}
	p.Judge(held)
	return rolloutShown{Name: name, State: string(p.State()), Of: len(p.Parts), Progress: p}
}

func rolloutRows(rollouts []rolloutShown, now time.Time) [][]cell {
	rows := [][]cell{head("ROLLOUT", "STATE", ">DONE", "BEGAN", "CHANGED", "AT")}
	for _, r := range rollouts {
		done := "–"
		if r.Wrong == "" {
			done = fmt.Sprintf("%d of %d", r.Done, r.Of)
		}
		rows = append(rows, []cell{
			{shown(r.Name), "", false},
			{r.State, runColors[r.State], false},
			{done, "", true},
			{timeText(r.Began), "", false},
			{timeText(r.Changed), "", false},
			{whereText(r.Progress, now), "", false},
		})
	}
	return rows
}

// timeText is a moment for a table.
func timeText(at *time.Time) string {
	if at == nil {
		return "–"
	}
	return runner.SlotText(at.UnixMilli(), false)
}

// sinceText is how long ago that was, to the second.
func sinceText(at *time.Time, now time.Time) string {
	if at == nil {
		return "–"
	}
	return max(0, now.Sub(*at)).Round(time.Second).String()
}

// whereText is who has failed, who runs, or whose turn it is, in one line.
func whereText(p runner.Progress, now time.Time) string {
	const most = 3
	var texts []string
	for _, one := range p.In(runner.Failed) {
		texts = append(texts, shown(one.Instance)+" "+withExit("failed", one.Exit))
	}
	for _, one := range p.In(runner.Running) {
		text := shown(one.Instance) + " runs it for " + sinceText(one.Started, now)
		if !one.Living {
			text += ", and is not in the ring"
		}
		texts = append(texts, text)
	}
	for _, one := range p.In(runner.Lost) {
		texts = append(texts, shown(one.Instance)+" has not said how it ended")
	}
	if waits := p.In(runner.Waiting); len(texts) == 0 && len(waits) > 0 {
		texts = append(texts, shown(waits[0].Instance)+" is the next")
		if !waits[0].Living {
			texts[0] += ", and not in the ring"
		}
	}
	if more := len(texts) - most; more > 0 {
		texts = append(texts[:most], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(texts, ", ")
}

// rows are the instances of a rollout, in the order of the ring.
func (r rolloutShown) rows(now time.Time) [][]cell {
	rows := [][]cell{head("INSTANCE", "STATE", "BEGAN", ">AGO", ">FENCE", "ERROR")}
	for _, one := range r.Parts {
		state, fence, color := withExit(string(one.State), one.Exit), "–", runColors[string(one.State)]
		if !one.Living && one.State != runner.Done {
			state += ", not in the ring"
		}
		if one.Fence != 0 {
			fence = strconv.FormatUint(one.Fence, 10)
		}
		rows = append(rows, []cell{
			{shown(one.Instance), "", false},
			{state, color, false},
			{timeText(one.Started), "", false},
			{sinceText(one.Started, now), "", true},
			{fence, dim, true},
			{shown(one.Error), "", false},
		})
	}
	return rows
}

// rollBar shows on a terminal how far a rollout is, in one line that is drawn anew. Its
// methods may be called by several goroutines.
type rollBar struct {
	mu    sync.Mutex // guards what follows
	out   io.Writer
	drawn bool
}

// barColumns is how wide the line is at most: one that wraps cannot be taken away.
const barColumns = 79

// show draws the line.
func (b *rollBar) show(p runner.Progress) {
	text := barText(int64(p.Done), int64(len(p.Parts))) +
		fmt.Sprintf("%d of %d", p.Done, len(p.Parts))
	if where := whereText(p, time.Now()); where != "" {
		text += "  " + where
	}
	if utf8.RuneCountInString(text) > barColumns {
		text = string([]rune(text)[:barColumns-1]) + "…"
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	fmt.Fprint(b.out, clearLine, text)
	b.drawn = true
}

// clear takes the line away.
func (b *rollBar) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.drawn {
		fmt.Fprint(b.out, clearLine)
		b.drawn = false
	}
}

// end leaves the line as it was drawn last, for the reader.
func (b *rollBar) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.drawn {
		fmt.Fprintln(b.out)
		b.drawn = false
	}
}

// above takes a bar away before each line of a log, which then stands above it.
type above struct {
	bar *rollBar
	slog.Handler
}

func (a above) Handle(ctx context.Context, r slog.Record) error {
	a.bar.clear()
	return a.Handler.Handle(ctx, r)
}

func (a above) WithAttrs(attrs []slog.Attr) slog.Handler {
	return above{a.bar, a.Handler.WithAttrs(attrs)}
}

func (a above) WithGroup(name string) slog.Handler { return above{a.bar, a.Handler.WithGroup(name)} }
