package overlay

// Walk goes round ring k from i, forwards for dir 1 and backwards for dir -1,
// and returns the first other instance for which stop is true. ok is false if
// the walk came back to i, or i is in no ring.
func (o *Overlay) Walk(k, i, dir int, stop func(int) bool) (j int, ok bool) {
	ring := o.Rings[k]
	n := len(ring)
	at := int(o.Pos[k][i])
	if at == nowhere {
		return i, false
	}
	for range n - 1 {
		at += dir
		switch {
		case at == n:
			at = 0
		case at < 0:
			at = n - 1
		}
		if j := int(ring[at]); stop(j) {
			return j, true
		}
	}
	return i, false
}
