package admin

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"log/slog"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"ringofservers.dev/doctor"
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
	// Doctor examines the fleet, or one instance of it. Nil: 404.
	Doctor func(ctx context.Context, ask doctor.Ask) (doctor.Report, error)

	// LoopbackRole is that of callers on this host which show nothing else. Zero: Admin.
	LoopbackRole Role
	// Certificate says whom a verified client certificate is for. Nil: the ring has no TLS,
	// so that whoever can connect may read.
	Certificate func(*tls.ConnectionState) (who string, role Role, err error)
	// Routes are served beside those of this package, by rules of the same kind.
	Routes []Route

	Logger     *slog.Logger          // of the audit lines; nil: none
	Registerer prometheus.Registerer // of the metrics about callers; nil: none
}

// api answers for one instance. Its methods are safe for concurrent use.
type api struct {
	ring    *ring.Ring
	train   train   // the ring too
	rosters rosters // likewise
	options Options
	streams chan struct{} // holds one token for each open stream
	leases  *sessions
	tokens  *tokens
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
		ring: r, train: r, rosters: r, options: options, streams: make(chan struct{}, StreamsMax),
		leases: newSessions(), asked: asked, ask: sync.OnceFunc(func() { close(asked) }),
	}

	a.tokens = newTokens(r.Bus(), options.Logger)
	return harden(newDoor(options, a.tokens, append(a.routes(), options.Routes...)))
}

// routes are all there are. What a request needs stands here and nowhere else.
func (a *api) routes() []Route {
	routes := []Route{
		{Pattern: "GET /livez", Need: Open, Serve: a.livez},
		{Pattern: "GET /healthz", Need: Open, Serve: a.livez},
		{Pattern: "GET /readyz", Need: Open, Serve: a.readyz},
		{Pattern: "GET /v1/status", Need: ToRead, Serve: a.status},
		{Pattern: "GET /v1/view", Need: ToRead, Serve: a.view},
		{Pattern: "GET /v1/events", Need: ToRead, Serve: a.events},
		{Pattern: "GET /v1/ticks", Need: ToRead, Serve: a.ticks},
		{Pattern: "GET /v1/live", Need: ToRead, Serve: a.live},
		{Pattern: "GET /v1/roster", Need: ToRead, Serve: a.roster},
		{Pattern: "GET /v1/roster/everywhere", Need: ToRead, Serve: a.rosterEverywhere},
		{Pattern: "GET /v1/messages", Need: ToRead, Serve: a.messages},
		{Pattern: "GET /v1/passengers", Need: ToRead, Serve: a.passengers},
		{Pattern: "GET /v1/bulk", Need: ToRead, Serve: a.transfers},
		{Pattern: "GET /v1/bulk/{name}", Need: ToRead, Serve: a.payload},
		{Pattern: "GET /v1/bus", Need: ToRead, Serve: a.busStatus},
		{Pattern: "GET /v1/bus/keys", Need: ToRead, Serve: a.busList},
		{Pattern: "GET /v1/bus/keys/{key...}", Need: ToRead, Serve: a.busGet},
		{Pattern: "GET /v1/tokens", Need: ToRead, Serve: a.tokenList},
		{Pattern: "GET /version", Need: ToRead, Serve: a.version},
		{Pattern: "POST /v1/gather/{topic...}", Need: ToAsk, Serve: a.gather},
		{Pattern: "POST /v1/lap/{topic...}", Need: ToAsk, Serve: a.lap},
		{Pattern: "POST /v1/roster/plan", Need: ToRead, Serve: a.rosterPlan},
		{Pattern: "POST /v1/roster", Need: ToChange, Serve: a.rosterChange},
		{Pattern: "POST /v1/broadcast/{topic...}", Need: ToChange, Serve: a.broadcast},
		{Pattern: "PUT /v1/bus/keys/{key...}", Need: ToChange, Serve: a.busPut},
		{Pattern: "DELETE /v1/bus/keys/{key...}", Need: ToChange, Serve: a.busDelete},
		// All of it at once, and half of a way to replace it.
		{Pattern: "GET /v1/bus/backup", Need: ToChange, Serve: a.busBackup},
		{Pattern: "POST /v1/bus/restore", Need: ToChange, Serve: a.busRestore},
		{Pattern: "POST /v1/bus/recover", Need: ToChange, Serve: a.busRecover},
		{Pattern: "POST /v1/tokens/{name}", Need: ToChange, Serve: a.tokenCreate},
		{Pattern: "DELETE /v1/tokens/{name}", Need: ToChange, Serve: a.tokenRevoke},
		{Pattern: "POST /v1/leave", Need: ToChange, Serve: a.leave},
		// A lease is held for a program that this instance can outlive by moments only.
		{Pattern: "POST /v1/leases/{name}", Need: OwnHost, Serve: a.leaseTake},
		{Pattern: "POST /v1/leases/{name}/{id}", Need: OwnHost, Quiet: true, Serve: a.leaseKeep},
		{Pattern: "DELETE /v1/leases/{name}/{id}", Need: OwnHost, Serve: a.leaseDrop},
		{Pattern: "DELETE /v1/leases/{name}", Need: OwnHost, Serve: a.leaseEnd},
	}
	if a.options.Gatherer != nil {
		metrics := promhttp.HandlerFor(a.options.Gatherer, promhttp.HandlerOpts{EnableOpenMetrics: true})
		routes = append(routes, Route{Pattern: "GET /metrics", Need: ToRead, Serve: metrics.ServeHTTP})
	}
	if a.options.Doctor != nil {
		routes = append(routes, Route{Pattern: "GET /v1/doctor", Need: ToRead, Serve: a.doctor})
	}
	return append(routes, pageRoutes()...)
}

func (a *api) status(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, a.statusNow())
}

func (a *api) statusNow() Status {
	s := withApps(a.ring.Status(), a.options.Apps)
	s.App, s.Retired = a.statusOfApp(), len(a.ring.Roster().Retired)
	return s
}

// statusOfApp is how the application is, nil where there is none now.
func (a *api) statusOfApp() *supervise.Status {
	if a.options.App == nil {
		return nil
	}
	return a.options.App()
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
