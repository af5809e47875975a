package core

import (
	"slices"
	"strings"
	"testing"
	"time"

	"ringofservers.dev/ring/internal/wire"
)

// R3: a certificate binds the sender of a link. Who says in its Hello that it is somebody
// else gets a no, is counted and told of, and the connection is closed, whoever dialed.
func TestR3HelloUnderAnotherName(t *testing.T) {
	for _, c := range []struct {
		what string
		open Event
	}{
		{"accepted", Event{Kind: Accepted, Conn: 1, Name: "dc1/prod/1"}},
		{"dialed", Event{Kind: Dialed, Conn: 1, Peer: 2, Name: "dc1/prod/1"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			l := newLAN(t, 3)
			me := l.hosts[0].core
			hello := l.hosts[2].core.Greeting(0)
			me.Step(l.now, c.open)
			var kinds []EffectKind
			for _, fx := range me.Step(l.now, Event{Kind: Received, Conn: 1, Msg: hello}) {
				switch {
				case fx.Kind == Send:
					if no, ok := fx.Msg.(*wire.Refuse); !ok || no.Code != wire.RefuseName {
						t.Errorf("it is answered %+v", fx.Msg)
					}
				case fx.Kind == Tell && (fx.Report.Kind != Claimed || fx.Report.Subject != 1 ||
					!strings.Contains(fx.Report.Text, "dc1/prod/2")):
					t.Errorf("told is %+v", fx.Report)
				}
				kinds = append(kinds, fx.Kind)
			}
			want := []EffectKind{Send, Forged, Close, Tell}
			for _, k := range want {
				if !slices.Contains(kinds, k) {
					t.Errorf("effects %v, want %v among them", kinds, want)
				}
			}
			for _, fx := range me.Step(l.now.Add(time.Millisecond), Event{Kind: Received, Conn: 1, Msg: hello}) {
				if fx.Kind == Send {
					t.Errorf("it goes on: %+v", fx)
				}
			}
		})
	}
}
