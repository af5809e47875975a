package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"testing"
	"time"
)

// What a program reads has durations as numbers of milliseconds that say so, at any depth.
func TestJSONLogHasMilliseconds(t *testing.T) {
	var out bytes.Buffer
	newLogger(&out, "json", slog.LevelInfo).With("pause", time.Second).Info("done",
		"took", 1500*time.Microsecond, slog.Group("app", "timeout", time.Minute), "exit", 3)
	var line struct {
		Pause *float64 `json:"pause_ms"`
		Took  *float64 `json:"took_ms"`
		App   struct {
			Timeout *float64 `json:"timeout_ms"`
		} `json:"app"`
		Exit int  `json:"exit"`
		Bare *any `json:"took"`
	}
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("%s: %v", out.String(), err)
	}
	if line.Pause == nil || *line.Pause != 1000 || line.Took == nil || *line.Took != 1.5 ||
		line.App.Timeout == nil || *line.App.Timeout != 60000 || line.Exit != 3 || line.Bare != nil {
		t.Errorf("logged %s", out.String())
	}
}
