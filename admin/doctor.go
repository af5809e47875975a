package admin

import (
	"context"
	"errors"
	"net/http"

	"ringofservers.dev/doctor"
	"ringofservers.dev/ring"
)

// doctor has the fleet examined, or with ?name= one instance, and answers with what is wrong.
func (a *api) doctor(w http.ResponseWriter, req *http.Request) {
	ask := doctor.Ask{Only: ring.Name(req.URL.Query().Get("name"))}
	a.within(w, req, func(ctx context.Context) (any, error) {
		rep, err := a.options.Doctor(ctx, ask)
		if errors.Is(err, doctor.ErrUnknown) {
			err = errors.Join(ring.ErrNotFound, err)
		}
		return rep, late(err, "nobody has answered")
	})
}
