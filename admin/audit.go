package admin

import (
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// pathMax bounds what of a path is logged, in bytes.
const pathMax = 256

// audit writes a line for each request that needed the role admin, and for those that were
// refused.
type audit struct{ logger *slog.Logger } // nil: nowhere

// entry is a request, for its line.
type entry struct {
	caller  Caller
	req     *http.Request
	began   time.Time
	pattern string
}

func (a audit) served(e entry, status int) {
	if a.logger != nil {
		a.logger.Info("audit", e.facts(status)...)
	}
}

func (a audit) refused(e entry, status int, unheard uint64) {
	if a.logger == nil {
		return
	}
	facts := append(e.facts(status), "refused", true)
	if unheard > 0 {
		facts = append(facts, "not_logged", unheard) // refusals before this one
	}
	a.logger.Info("audit", facts...)
}

// facts are those of a line. A query is not among them, nor is the ID of a lease, which
// whoever knows it may release.
func (e entry) facts(status int) []any {
	path := e.req.URL.Path
	if strings.HasSuffix(e.pattern, "/{id}") {
		path = path[:strings.LastIndexByte(path, '/')] + "/…"
	}
	facts := []any{
		"who", e.caller.Who, "role", e.caller.Role.String(), "via", e.caller.Via, "remote", e.req.RemoteAddr,
		"method", e.req.Method, "path", path[:min(len(path), pathMax)], "status", status,
		"took", time.Since(e.began),
	}
	if p := e.caller.Peer; p != nil {
		facts = append(facts, "uid", p.UID, "pid", p.PID)
	}
	return facts
}

// class is that of an answer, for a metric.
func class(status int) string {
	return strconv.Itoa(status/100) + "xx"
}

// recorder notes how a request is answered. begun, if there is one, is called once: when what
// was written is sent although more is to come, or with begin at the end.
type recorder struct {
	http.ResponseWriter
	status int
	begun  func()
	once   sync.Once
}

// answered is the status of the answer; where nothing was written it is what the server says
// then.
func (r *recorder) answered() int {
	if r.status == 0 {
		return http.StatusOK
	}
	return r.status
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && status >= http.StatusOK { // what is below is not the answer yet
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// FlushError is for http.ResponseController.
func (r *recorder) FlushError() error {
	r.begin()
	return http.NewResponseController(r.ResponseWriter).Flush()
}

// Unwrap is for http.ResponseController, too.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) begin() {
	if r.begun != nil {
		r.once.Do(r.begun)
	}
}
