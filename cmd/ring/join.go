package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringofservers.dev/enroll"
	"ringofservers.dev/ring"
	"ringofservers.dev/ring/trust"
)

const (
	// joinTime is how long a new host tries to get its certificate.
	joinTime = time.Minute
	// joinPause is between two tries.
	joinPause = 2 * time.Second
	// identityDir and joinedFile are where, below --data, a host that was invited keeps its
	// identity and its settings; invitedFile has the key until there is a certificate for it.
	identityDir = "tls"
	joinedFile  = "ring.toml"
	invitedFile = "invited.pem"
)

// addJoinFlag gives ring node its --join. before is to be called ahead of the settings, and
// has them be those of the invitation.
func addJoinFlag(cmd *cobra.Command) (before func() error) {
	invitation := cmd.Flags().String("join", "", "invitation of ring roster invite, or @file (RING_JOIN): fetch a "+
		"certificate and the settings, and keep them below --data")
	return func() error {
		text := *invitation
		if text == "" {
			text = os.Getenv("RING_JOIN")
		}
		if text == "" {
			return nil
		}
		if cmd.Flags().Changed("config") || os.Getenv("RING_CONFIG") != "" {
			return usageError("--join brings settings, and --config names others: give one of the two")
		}
		data := cmd.Flags().Lookup("data").Value.String()
		if data == "" {
			data = os.Getenv(envName("data"))
		}
		file, err := joinRing(cmd, data, text)
		if err != nil {
			return err
		}
		return cmd.Flags().Set("config", file)
	}
}

// joinRing makes of an invitation, or of @FILE with one, an identity and a settings file
// below data, and returns that file. Where it was done before there is nothing to do.
func joinRing(cmd *cobra.Command, data, invitation string) (file string, err error) {
	if data == "" {
		return "", usageError("--join keeps what it is given: say where, with --data")
	}
	if path, ok := strings.CutPrefix(invitation, "@"); ok {
		text, err := os.ReadFile(path)
		if err != nil {
			return "", usageError("--join: %w", err)
		}
		invitation = string(text)
	}
	i, err := enroll.ParseInvitation(invitation)
	if err != nil {
		return "", usageError("--join: %w", err)
	}
	if data, err = filepath.Abs(data); err != nil {
		return "", exitf(exitFailed, "%w", err)
	}
	file = filepath.Join(data, joinedFile)
	identity := filepath.Join(data, identityDir)
	switch s, err := joinedBefore(file); {
	case err != nil:
		return "", err
	case s != nil && (s.Ring != i.Ring || string(s.Name) != i.Name):
		return "", usageError("%s is of %s of ring %s, the invitation of %s of ring %s: give that one another --data",
			file, s.Name, s.Ring, i.Name, i.Ring)
	case s != nil:
		if _, err := trust.Open(identity); err == nil {
			_ = os.Remove(filepath.Join(identity, invitedFile)) // left by one that was ended in between
			return file, nil
		}
		// It has slept through its certificate, or lost it: the invitation is for that.
	}
	if err := os.MkdirAll(identity, 0o700); err != nil {
		return "", exitf(exitFailed, "%w", err)
	}
	csr, key, err := keptRequest(filepath.Join(identity, invitedFile), i)
	if err != nil {
		return "", err
	}
	m, w, err := acceptInvitation(cmd, i, csr, key)
	if err != nil {
		return "", err
	}
	if err := trust.WriteDir(identity, *m); err != nil {
		return "", exitf(exitFailed, "keep the certificate: %w", err)
	}
	if err := trust.WriteFile(file, joinedSettings(i, w, data, identity), 0o600); err != nil {
		return "", exitf(exitFailed, "keep the settings: %w", err)
	}
	if err := os.Remove(filepath.Join(identity, invitedFile)); err != nil {
		return "", exitf(exitFailed, "%w", err)
	}
	cmd.PrintErrf("certified as %s of ring %s; from now on, and in a unit: ring node --config %s\n", i.Name, i.Ring, file)
	return file, nil
}

// joinedBefore reads the settings that an earlier joinRing has made, if there are any.
func joinedBefore(file string) (*settings, error) {
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	s, err := loadFile(file)
	if err != nil {
		return nil, err
	}
	return &s, nil
}

// keptRequest returns the request of an earlier try, since an invitation is good for one, or
// makes one.
func keptRequest(file string, i *enroll.Invitation) (csr, key []byte, err error) {
	const between = "-----BEGIN CERTIFICATE REQUEST-----"
	text, err := os.ReadFile(file)
	if err == nil {
		if at := bytes.Index(text, []byte(between)); at > 0 {
			if r, err := trust.ReadRequest(text[at:]); err == nil && r.ID.Name == i.Name && r.ID.Ring == i.Ring {
				return text[at:], text[:at], nil
			}
		}
		return nil, nil, exitf(exitFailed, "%s is not the request of %s: remove it, and have the name invited anew",
			file, i.Name)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, exitf(exitFailed, "%w", err)
	}
	id := trust.ID{Role: trust.Instance, Ring: i.Ring, Name: i.Name}
	if csr, key, err = trust.NewRequest(id, nil); err != nil {
		return nil, nil, exitf(exitFailed, "%w", err)
	}
	if err := trust.WriteFile(file, append(bytes.Clone(key), csr...), 0o600); err != nil {
		return nil, nil, exitf(exitFailed, "keep the key: %w", err)
	}
	return csr, key, nil
}

// acceptInvitation asks until there is an answer, a no, or too much time has gone.
func acceptInvitation(cmd *cobra.Command, i *enroll.Invitation, csr, key []byte) (
	*trust.Material, *enroll.Welcome, error,
) {
	ctx, cancel := context.WithTimeout(cmd.Context(), joinTime)
	defer cancel()
	told := ""
	for {
		m, w, err := i.Accept(ctx, csr, key)
		switch {
		case err == nil:
			return m, w, nil
		case errors.Is(err, ring.ErrRefused):
			return nil, nil, exitf(exitRefused, "%w", err)
		case ctx.Err() != nil:
			return nil, nil, exitf(exitUnreachable, "nobody has answered the invitation within %v: %w", joinTime, err)
		}
		if text := err.Error(); text != told {
			told = text
			cmd.PrintErrf("ring: not yet: %v\n", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(joinPause):
		}
	}
}

// joinedSettings are those of an instance that was invited, as a file.
func joinedSettings(i *enroll.Invitation, w *enroll.Welcome, data, identity string) []byte {
	text := fmt.Sprintf("# Made by ring node --join.\nname = %q\ndata = %q\ntls = %q\n", i.Name, data, identity)
	if w.Preset != "" {
		text += fmt.Sprintf("preset = %q\n", w.Preset)
	}
	d := rosterDocument{
		Ring: i.Ring, Version: w.Roster.Version, Names: w.Roster.Names, Addresses: w.Roster.Addresses,
		Degree: w.Roster.Degree, Retired: w.Roster.Retired,
	}
	d.Hash = d.roster().Hash(i.Ring)
	return []byte(text + d.toml())
}
