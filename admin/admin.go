package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"ringofservers.dev/lap"
	"ringofservers.dev/ring"
	"ringofservers.dev/supervise"
)

// StreamsMax is how many streams one instance serves at a time; the next one
// is answered 503. Each costs a goroutine and one bounded queue.
const StreamsMax = 128

// leaveTime bounds the goodbye that POST /v1/leave starts.
const leaveTime = 15 * time.Second

// Options of New; the zero value serves everything but metrics.
type Options struct {
	Gatherer prometheus.Gatherer // behind /metrics; nil: 404
	Version  string              // of the program, for /version; "" reads "devel"
	Revision string              // of its source, for /version

	// Leave starts a graceful leave and does not wait for it. Nil calls
	// Leave of the ring. A program with more to end than the ring sets it.
	Leave func()
	// Leaving is closed by a program that begins to leave: then /readyz is
	// 503, and the streams end, which the ring's port would otherwise wait for.
	Leaving <-chan struct{}
	// App says how the application beside this instance is, which is then in the
	// status, and a check of /readyz; it is nil while there is none. Nil: there never is.
	App func() *supervise.Status
	// Apps says how the applications of all instances are, as far as that is known here,
	// which is then in the status. Nil: it is not known.
	Apps func() map[ring.Name]lap.App
	// Questions are the topics that every instance is to answer: those of package lap, and the
	// names of its commands. Of those that begin with ring/ no others can be asked for a lap.
	Questions []string
}

// api answers for one instance. Its methods are safe for concurrent use.
type api struct {
	ring    *ring.Ring
	train   train // the ring too
	options Options
	streams chan struct{} // holds one token for each open stream
	leases  *sessions
	asked   chan struct{} // closed by the first POST /v1/leave
	ask     func()        // closes asked
}

// New returns the handler for r, which it neither starts nor closes. It serves
// at the root of a host: the page's links are absolute.
func New(r *ring.Ring, options Options) http.Handler {
	if options.Version == "" {
		options.Version = "devel"
	}
	asked := make(chan struct{})
	a := &api{
		ring: r, train: r, options: options, streams: make(chan struct{}, StreamsMax),
		leases: newSessions(), asked: asked, ask: sync.OnceFunc(func() { close(asked) }),
	}

	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", a.status)
	mux.HandleFunc("GET /v1/view", a.view)
	mux.HandleFunc("GET /v1/events", a.events)
	mux.HandleFunc("GET /v1/ticks", a.ticks)
	mux.HandleFunc("GET /v1/live", a.live)
	mux.HandleFunc("GET /v1/roster", a.roster)
	a.mountBroadcast(mux)
	a.mountLaps(mux)
	a.mountBulk(mux)
	mux.HandleFunc("GET /livez", a.livez)
	mux.HandleFunc("GET /healthz", a.livez)
	mux.HandleFunc("GET /readyz", a.readyz)
	mux.HandleFunc("GET /version", a.version)
	mux.Handle("POST /v1/leave", localOnly(http.HandlerFunc(a.leave)))
	if options.Gatherer != nil {
		mux.Handle("GET /metrics", promhttp.HandlerFor(options.Gatherer,
			promhttp.HandlerOpts{EnableOpenMetrics: true}))
	}
	a.mountBus(mux)
	a.mountLeases(mux)
	mountPage(mux)
	return harden(mux)
}

func (a *api) status(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, a.statusNow())
}

func (a *api) statusNow() Status {
	s := withApps(a.ring.Status(), a.options.Apps)
	s.App = a.statusOfApp()
	return s
}

// statusOfApp is how the application is, nil where there is none now.
func (a *api) statusOfApp() *supervise.Status {
	if a.options.App == nil {
		return nil
	}
	return a.options.App()
}

// rosterBody is the answer of /v1/roster; the order of names is the roster's.
type rosterBody struct {
	V         int         `json:"v"`
	Ring      string      `json:"ring"`
	Hash      string      `json:"hash"`
	Names     []ring.Name `json:"names"`
	Addresses []string    `json:"addresses"`
	Degree    int         `json:"degree"` // as it was set; 0: the default of the size
	Links     int         `json:"links"`  // of each instance, which follows from it
}

func (a *api) roster(w http.ResponseWriter, _ *http.Request) {
	status, roster := a.ring.Status(), a.ring.Roster()
	writeJSON(w, http.StatusOK, rosterBody{
		V: 1, Ring: status.Ring, Hash: status.RosterHash,
		Names: roster.Names, Addresses: roster.Addresses, Degree: roster.Degree,
		Links: roster.Links(),
	})
}

func (a *api) version(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{
		"v": 1, "version": a.options.Version, "revision": a.options.Revision,
		"go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH,
	})
}

// leave answers before it leaves: the connection it answers on goes with the
// instance.
func (a *api) leave(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusAccepted, map[string]any{
		"v": 1, "leaving": true, "instance": a.ring.View().Self,
	})
	_ = http.NewResponseController(w).Flush()
	a.ask()
	if a.options.Leave != nil {
		a.options.Leave()
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), leaveTime)
		defer cancel()
		_ = a.ring.Leave(ctx) // Err of the ring tells its owner how it ended
	}()
}

// writeJSON answers with one object, indented so that curl is readable.
func writeJSON(w http.ResponseWriter, code int, body any) {
	text, err := json.MarshalIndent(body, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	text = append(text, '\n')
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(code)
	_, _ = w.Write(text)
}

// refuse answers with an error that a person can act on.
func refuse(w http.ResponseWriter, code int, text string) {
	writeJSON(w, code, map[string]any{"v": 1, "error": text})
}
