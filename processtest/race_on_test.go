//go:build linux && race

package processtest

const raced = true
