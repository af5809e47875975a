//go:build !race

package ringtest

const seedShare = 1
