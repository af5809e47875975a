package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Role is what a caller may do. Of two the higher one may do all that the lower one may.
type Role uint8

// Roles. The zero Role is that nothing was said.
const (
	Nobody Role = iota + 1 // may know whether the instance lives and is ready
	Read                   // may know everything, and change nothing
	Admin                  // may do everything
)

var roleNames = map[Role]string{Nobody: "none", Read: "read", Admin: "admin"}

// String is none, read or admin.
func (r Role) String() string {
	if r == 0 {
		r = Nobody
	}
	return roleNames[r]
}

// ParseRole is the reverse of String.
func ParseRole(text string) (Role, error) {
	for r := Nobody; r <= Admin; r++ {
		if roleNames[r] == text {
			return r, nil
		}
	}
	return 0, fmt.Errorf("role %q is unknown: choose admin, read or none", text)
}

// Need is what a request takes to be served.
type Need uint8

// Needs. A route without one is served to nobody.
const (
	Open     Need = iota + 1 // nothing, or what its handler looks at itself
	ToRead                   // role read
	ToAsk                    // a question of ours, below ring/ and without a body, read; else admin
	ToChange                 // role admin
	OwnHost                  // role admin, and that this host asks
)

// Route is an endpoint, and who may have it.
type Route struct {
	Pattern string // of http.ServeMux, with the method
	Need    Need
	Quiet   bool // no audit line where it is served: it says again what was said
	Serve   http.HandlerFunc
}

// role is the lowest that req needs.
func (r *Route) role(req *http.Request) Role {
	switch r.Need {
	case Open:
		return Nobody
	case ToRead:
		return Read
	case ToAsk:
		// After the method the pattern has one element of the path for what is done; the topic
		// is what follows. A chunked body has length -1.
		if _, topic, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/v1/"), "/"); req.ContentLength == 0 &&
			strings.HasPrefix(topic, ownTopics) {
			return Read
		}
	}
	return Admin
}

// Caller is who asks.
type Caller struct {
	Who   string // name of the operator or of the token; of others where they are
	Role  Role
	Via   string // loopback, socket, certificate, token or none
	Local bool   // this host asks
	Peer  *Peer  // the process at the other end of a socket, where the system tells
}

// String is a caller as it is written down: with what it has shown.
func (c Caller) String() string { return strings.TrimSpace(c.Via + " " + c.Who) }

type callerKey struct{}

// CallerOf is who asks, for the Serve of a Route.
func CallerOf(req *http.Request) Caller {
	c, ok := req.Context().Value(callerKey{}).(Caller)
	if !ok {
		return Caller{Role: Nobody, Via: "none"}
	}
	return c
}

// What is wrong with credentials that were shown.
var (
	errHeader = errors.New("the header Authorization is not one of the form: Bearer ring_…")
	errToken  = errors.New("the token is not known here, was revoked, or has expired")
)

// door lets requests in, or does not. It is the one place where that is decided. It is safe
// for concurrent use.
type door struct {
	options  Options
	tokens   *tokens
	mux      *http.ServeMux
	pages    http.CrossOriginProtection
	routes   map[string]*Route
	stranger Role // of who shows nothing
	tries    *tries
	audit    audit
	counts   *prometheus.CounterVec
	bad      prometheus.Counter
}

func newDoor(options Options, known *tokens, routes []Route) *door {
	d := &door{
		options: options, tokens: known, mux: http.NewServeMux(), routes: map[string]*Route{},
		stranger: Nobody, tries: newTries(), audit: audit{logger: options.Logger},
	}
	if options.Certificate == nil {
		d.stranger = Read
	}
	if options.LoopbackRole == 0 {
		d.options.LoopbackRole = Admin
	}
	for i := range routes {
		d.mux.Handle(routes[i].Pattern, routes[i].Serve)
		d.routes[routes[i].Pattern] = &routes[i]
	}
	d.count(options.Registerer)
	return d
}

// count makes the metrics; where a handler before this one has them, they are its own.
func (d *door) count(to prometheus.Registerer) {
	d.counts = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ring_admin_requests_total",
		Help: "Requests by the caller's role, what it has shown for it, and the class of the answer.",
	}, []string{"role", "via", "code"})
	d.bad = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "ring_admin_bad_credentials_total",
		Help: "Requests with a token or a certificate that does not count.",
	})
	if to == nil {
		return
	}
	var before prometheus.AlreadyRegisteredError
	if errors.As(to.Register(d.counts), &before) {
		d.counts, _ = before.ExistingCollector.(*prometheus.CounterVec)
	}
	if errors.As(to.Register(d.bad), &before) {
		d.bad, _ = before.ExistingCollector.(prometheus.Counter)
	}
}

// unknown is the rule for what there is not: who may not read learns nothing of it.
var unknown = Route{Need: ToRead}

func (d *door) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	began := time.Now()
	route := &unknown
	if _, pattern := d.mux.Handler(req); pattern != "" {
		route = d.routes[pattern]
	}
	caller, err := d.identify(req, began)
	need := route.role(req)
	out := &recorder{ResponseWriter: w}
	entry := entry{caller: caller, req: req, began: began, pattern: route.Pattern}
	defer func() {
		d.counts.WithLabelValues(caller.Role.String(), caller.Via, class(out.answered())).Inc()
	}()
	crowded := false
	if err != nil {
		d.bad.Inc()
		crowded = !d.tries.failed(req.RemoteAddr, began)
	}
	if !d.admit(out, req, route, need, caller, err, crowded) {
		d.refused(entry, out.answered())
		return
	}
	if route.audited(need, req) {
		out.begun = func() {
			if route.Need == Open && out.answered() >= http.StatusBadRequest { // by its own check
				d.refused(entry, out.answered())
				return
			}
			d.audit.served(entry, out.answered())
		}
		defer out.begin()
	}
	d.mux.ServeHTTP(out, req.WithContext(context.WithValue(req.Context(), callerKey{}, caller)))
}

// refused writes the line of a refusal, unless there are too many.
func (d *door) refused(e entry, status int) {
	if d.tries.heard(e.req.RemoteAddr, e.began) {
		d.audit.refused(e, status, d.tries.unheard())
	}
}

// audited is whether req is worth a line: what needs admin, and what is open and no look.
func (r *Route) audited(need Role, req *http.Request) bool {
	look := req.Method == http.MethodGet || req.Method == http.MethodHead
	return !r.Quiet && (need == Admin || r.Need == Open && !look)
}

// admit says whether the request is served, and if not answers why. err is what is wrong
// with what the caller has shown, crowded that there was too much of that.
func (d *door) admit(w http.ResponseWriter, req *http.Request, r *Route, need Role, c Caller, err error,
	crowded bool,
) bool {
	const how = "give a token (--token, RING_TOKEN; ring token create makes one) or an operator's " +
		"certificate (--cert, --key), or ask on the instance's own host"
	page := d.pages.Check(req)
	switch {
	case r.Need == 0:
		refuse(w, http.StatusForbidden, "this endpoint has no rule, so it is served to nobody")
	case page != nil:
		refuse(w, http.StatusForbidden, "a web page of another origin has sent this: "+page.Error())
	case r.Need == Open:
		return true
	case crowded:
		w.Header().Set("Retry-After", "10")
		refuse(w, http.StatusTooManyRequests,
			"too many requests from there have shown a wrong token or certificate: "+err.Error())
	case err != nil:
		w.Header().Set("WWW-Authenticate", `Bearer realm="ring", error="invalid_token"`)
		refuse(w, http.StatusUnauthorized, err.Error()+": "+how)
	case c.Role < need && c.Via == "none":
		w.Header().Set("WWW-Authenticate", `Bearer realm="ring"`)
		refuse(w, http.StatusUnauthorized, fmt.Sprintf("this needs the role %s, and who asks has shown nothing: %s",
			need, how))
	case c.Role < need:
		refuse(w, http.StatusForbidden, fmt.Sprintf("this needs the role %s; %s has the role %s", need, c, c.Role))
	case r.Need == OwnHost && !c.Local:
		refuse(w, http.StatusForbidden, "this is allowed from the instance's own host only; run the command "+
			"there, with --addr 127.0.0.1:PORT, or unix:///PATH where it has a socket")
	default:
		return true
	}
	return false
}

// identify says who asks. What a caller shows decides, the token before the certificate,
// also where its place alone would be worth more: who takes a token with few rights means to
// have few. With an error nothing that was shown counts, nor does the place.
func (d *door) identify(req *http.Request, now time.Time) (Caller, error) {
	peer, socket := peerOf(req)
	c := Caller{Who: host(req.RemoteAddr), Role: d.stranger, Via: "none", Local: socket || onLoopback(req), Peer: peer}
	nobody := c
	nobody.Role = Nobody
	if shown, given := req.Header["Authorization"]; given {
		secret, err := parseBearer(shown)
		if err != nil {
			return nobody, err
		}
		t, ok := d.tokens.find(secret, now)
		if !ok {
			return nobody, errToken
		}
		c.Who, c.Role, c.Via = t.name, t.role, "token"
		return c, nil
	}
	if req.TLS != nil && len(req.TLS.PeerCertificates) > 0 && d.options.Certificate != nil {
		who, role, err := d.options.Certificate(req.TLS)
		if err != nil {
			return nobody, fmt.Errorf("the certificate does not count: %w", err)
		}
		c.Who, c.Role, c.Via = who, max(role, Nobody), "certificate"
		return c, nil
	}
	switch {
	case socket:
		c.Who, c.Role, c.Via = peer.who(), Admin, "socket"
	case c.Local && d.options.LoopbackRole > d.stranger:
		c.Role, c.Via = d.options.LoopbackRole, "loopback"
	}
	return c, nil
}

// tokenMax bounds a token in bytes; ours have 48.
const tokenMax = 128

// parseBearer is the token in the header Authorization, see RFC 6750, 2.1.
func parseBearer(values []string) (secret string, err error) {
	if len(values) != 1 {
		return "", errHeader
	}
	scheme, secret, _ := strings.Cut(values[0], " ")
	secret = strings.Trim(secret, " ")
	if !strings.EqualFold(scheme, "Bearer") || len(secret) > tokenMax || !strings.HasPrefix(secret, tokenPrefix) {
		return "", errHeader
	}
	if strings.ContainsFunc(secret, otherThan("-_")) {
		return "", errHeader
	}
	return secret, nil
}
