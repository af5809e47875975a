package main

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// reloadMetrics say how the last reading of the settings went.
type reloadMetrics struct {
	success, at prometheus.Gauge
}

func newReloadMetrics(registry *prometheus.Registry) reloadMetrics {
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "ring_config_" + name, Help: help})
		registry.MustRegister(g)
		return g
	}
	m := reloadMetrics{
		success: gauge("reload_success", "1 unless the last reading of the settings failed."),
		at: gauge("reload_success_timestamp_seconds",
			"When settings were last read without an error."),
	}
	m.done(nil)
	return m
}

func (m reloadMetrics) done(err error) {
	if err != nil {
		m.success.Set(0)
		return
	}
	m.success.Set(1)
	m.at.Set(float64(time.Now().UnixMilli()) / 1000)
}

// reloadNow reads the settings again. It changes all that can be changed, and
// names what cannot; on an error it changes nothing.
func (n *instance) reloadNow() {
	identityErr := n.reloadIdentity()
	s, err := n.load()
	n.reload.done(errors.Join(err, identityErr))
	if err != nil {
		n.logger.Error("settings not reloaded; the old ones stay in force", "err", err)
		return
	}
	old := n.settings
	n.level.Set(s.LogLevel)
	if s.Hold != old.Hold || s.MaxSpeed != old.MaxSpeed {
		n.ring.SetPace(s.Hold, s.MaxSpeed)
	}
	changed, fixed := difference(old, s)
	n.settings.LogLevel, n.settings.Hold, n.settings.MaxSpeed = s.LogLevel, s.Hold, s.MaxSpeed
	n.settings.App, n.settings.Respawn, n.settings.Runs = s.App, s.Respawn, s.Runs
	n.app.reload(s.App)
	n.runs.exchange(s.Runs)
	if !reflect.DeepEqual(old.Respawn, s.Respawn) {
		select {
		case <-n.respawns: // an older one that nobody has heard of yet
		default:
		}
		n.respawns <- n.respawnConfig(s.Respawn) // there is room: nobody else sends
	}
	if identityErr != nil {
		n.logger.Warn("settings reloaded, but not the identity: the old one stays in force", "changed", orNothing(changed))
	} else {
		n.logger.Info("settings reloaded", "changed", orNothing(changed))
	}
	if len(fixed) > 0 {
		n.logger.Warn("some changed settings need a restart", "settings", strings.Join(fixed, ", "))
	}
}

// reloadIdentity reads the directory of the identity again, which is taken whole or not at all.
func (n *instance) reloadIdentity() error {
	store := n.ring.TLS()
	if store == nil {
		return nil
	}
	before := store.Leaf()
	if err := store.Reload(); err != nil {
		n.logger.Error("identity not reloaded; the old one stays in force", "err", err)
		return err
	}
	if leaf := store.Leaf(); !leaf.Equal(before) {
		n.logger.Info("identity reloaded", "serial", fmt.Sprintf("%x", leaf.SerialNumber),
			"until", leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

func orNothing(words []string) string {
	if len(words) == 0 {
		return "nothing"
	}
	return strings.Join(words, ", ")
}
