package node

import (
	"errors"
	"testing"
)

// What was asked for when the instance ended may have been done.
func TestEndOfAskedIsUnknown(t *testing.T) {
	a, ch := newAsks(), make(chan outcome, 1)
	a.waiting[1] = ch
	a.end()
	if o := <-ch; !errors.Is(o.err, ErrEnded) || !errors.Is(o.err, ErrUnknown) {
		t.Errorf("the end answers %v, want ErrEnded and ErrUnknown", o.err)
	}
}
