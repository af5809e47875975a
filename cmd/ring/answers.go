package main

import (
	"context"
	"time"

	"ringofservers.dev/admin"
	"ringofservers.dev/ring"
)

// answerBuiltIn has r answer what every instance can say of itself.
func answerBuiltIn(r *ring.Ring, build build) error {
	if _, err := r.Answer(admin.RosterTopic, admin.RosterAnswer(r), nil); err != nil {
		return err
	}
	for topic, answer := range map[string]func() string{
		"ring/version": build.text,
		"ring/clock":   func() string { return time.Now().UTC().Format(time.RFC3339Nano) },
	} {
		_, err := r.Answer(topic, func(context.Context, ring.Question) ([]byte, error) {
			return []byte(answer()), nil
		}, nil)
		if err != nil {
			return err
		}
	}
	return nil
}
