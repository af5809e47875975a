package ring

// LastTick returns the newest pass of the particle at this stop; ok is false
// before the first. To see each pass, take OnTick.
func (r *Ring) LastTick() (last Tick, ok bool) {
	t := r.node.State().Last
	if t.At.IsZero() {
		return Tick{}, false
	}
	return r.tick(t), true
}
