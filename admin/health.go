package admin

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"ringofservers.dev/doctor"
	"ringofservers.dev/supervise"
)

// check is one line of a probe: what was asked, and why not if it failed.
type check struct {
	name string
	why  string // empty: ok
}

// livez never looks at peers: an instance that is alone is still alive, and a
// supervisor that restarts it would only make things worse. Who it is stands in a header,
// for those who want to know where an address leads.
func (a *api) livez(w http.ResponseWriter, req *http.Request) {
	w.Header().Set(doctor.InstanceHeader, string(a.ring.View().Self))
	answer(w, req, "livez", a.running())
}

// readyz is 200 while this instance is in the ring and means to stay, and the
// application beside it, if there is one, is healthy.
func (a *api) readyz(w http.ResponseWriter, req *http.Request) {
	view := a.ring.View()
	joined, leaving := check{name: "joined"}, check{name: "leaving"}
	switch {
	case !view.Joined && view.CutOff:
		joined.why = "the others have cut this instance from the ring; it waits to return"
	case !view.Joined:
		joined.why = "no neighbour has let this instance into the ring yet"
	}
	if a.leaves() {
		leaving.why = "this instance is leaving the ring"
	}
	checks := []check{a.running(), joined, leaving}
	if s := a.statusOfApp(); s != nil {
		app := check{name: "app"}
		if s.State != supervise.Healthy {
			app.why = strings.TrimSuffix("the application is "+string(s.State)+": "+s.Why, ": ")
		}
		checks = append(checks, app)
	}
	answer(w, req, "readyz", checks...)
}

func (a *api) leaves() bool {
	select {
	case <-a.asked:
	case <-a.options.Leaving:
	default:
		return false
	}
	return true
}

// running fails once the ring of this process has ended; the view it takes on
// the way shows that its lock is not wedged.
func (a *api) running() check {
	_ = a.ring.View()
	select {
	case <-a.ring.Done():
		return check{"running", "the ring of this process has ended"}
	default:
		return check{name: "running"}
	}
}

// answer prints checks the way Kubernetes does: one word, and with ?verbose or
// on failure a line each, for who may read: there are names in them. ?exclude=NAME leaves
// one out.
func answer(w http.ResponseWriter, req *http.Request, probe string, checks ...check) {
	query := req.URL.Query()
	excluded := query["exclude"]
	var lines strings.Builder
	failed := false
	for _, c := range checks {
		switch {
		case slices.Contains(excluded, c.name):
			fmt.Fprintf(&lines, "[+]%s excluded: ok\n", c.name)
		case c.why != "":
			failed = true
			fmt.Fprintf(&lines, "[-]%s failed: %s\n", c.name, c.why)
		default:
			fmt.Fprintf(&lines, "[+]%s ok\n", c.name)
		}
	}
	verbose := query.Has("verbose")
	if CallerOf(req).Role < Read {
		verbose = false
		lines.Reset()
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	switch {
	case failed:
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintf(w, "%s%s check failed\n", lines.String(), probe)
	case verbose:
		fmt.Fprintf(w, "%s%s check passed\n", lines.String(), probe)
	default:
		fmt.Fprint(w, "ok\n")
	}
}
