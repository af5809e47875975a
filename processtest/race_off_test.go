//go:build linux && !race

package processtest

const raced = false
