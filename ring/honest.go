//go:build !liar

package ring

// bend is nil: this instance sends what it means.
func (r *Ring) bend() func(frame []byte) [][]byte { return nil }
