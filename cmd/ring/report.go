package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"ringofservers.dev/ring"
)

const (
	reportPace = time.Second
	// reportPatience bounds one question: a stopped child accepts and never
	// answers, and the next one knows as much.
	reportPatience = 250 * time.Millisecond
)

// report prints the ring's state once a second, as the first instance that
// answers sees it.
func (s *starter) report(ctx context.Context, children []child) {
	clients := make([]*client, len(children))
	for i, c := range children {
		clients[i], _ = newClient(target{addr: fmt.Sprintf("127.0.0.1:%d", c.port)}) // valid by construction
	}
	beat := time.NewTicker(reportPace)
	defer beat.Stop()
	for {
		select {
		case <-beat.C:
		case <-ctx.Done():
			return
		}
		line, ok := "no instance answers", false
		for _, c := range clients {
			if line, ok = stateLine(ctx, c); ok {
				break
			}
		}
		if ctx.Err() == nil {
			s.screen.state(line, ok)
		}
	}
}

// stateLine is what one instance knows, on one line.
func stateLine(ctx context.Context, c *client) (string, bool) {
	ctx, cancel := context.WithTimeout(ctx, reportPatience)
	defer cancel()
	var status ring.Status
	var last struct {
		Tick *ring.Tick `json:"tick"`
	}
	if c.get(ctx, "/v1/status", &status) != nil || c.get(ctx, "/v1/ticks", &last) != nil {
		return "no instance answers", false
	}
	parts := []string{aliveText(status), anchorText(status), "epoch " + status.Epoch.String()}
	if last.Tick != nil && last.Tick.Took > 0 {
		parts = append(parts, "lap "+lapText(last.Tick.Took))
	}
	if n := len(status.BadLinks); n > 0 {
		parts = append(parts, fmt.Sprintf("bad links %d", n))
	}
	if status.CutOff {
		parts = append(parts, "cut off")
	}
	return strings.Join(append(parts, c.base+"/"), " · "), true
}
