//go:build !race

package processtest

const raced = false
