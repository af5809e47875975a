package admin

import (
	"io"
	"net/http"
	"time"

	"ringofservers.dev/ring"
)

func (a *api) transfers(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{"v": 1, "transfers": a.ring.Transfers()})
}

// payload answers with the bytes of a payload that is here whole, or with a range of
// them. However long it takes, it ends when the client does not read.
func (a *api) payload(w http.ResponseWriter, req *http.Request) {
	l, err := a.ring.Payload(req.PathValue("name"))
	var body io.ReadSeekCloser
	if err == nil {
		body, err = l.Open()
	}
	if err != nil {
		refuseBus(w, err)
		return
	}
	defer body.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("ETag", `"`+l.SHA256+`"`)
	http.ServeContent(&steady{w, http.NewResponseController(w)}, req, "", time.Time{}, body)
}

// steady lets a client take its time for the whole, but not for one write.
type steady struct {
	http.ResponseWriter
	control *http.ResponseController
}

func (s *steady) Write(b []byte) (int, error) {
	// Not every ResponseWriter knows deadlines; those that do not have their own way to end.
	_ = s.control.SetWriteDeadline(time.Now().Add(stalled))
	return s.ResponseWriter.Write(b)
}

// upload is the body of a request that may take its time for the whole, but not for one
// read; the answer has its time from then on.
type upload struct {
	io.Reader
	control *http.ResponseController
}

func (u *upload) Read(b []byte) (int, error) {
	now := time.Now()
	_ = u.control.SetReadDeadline(now.Add(stalled)) // as in steady
	_ = u.control.SetWriteDeadline(now.Add(ring.BulkMax / digestRate * time.Second))
	return u.Reader.Read(b)
}

// digestRate is how many bytes of a payload are checked in a second, on a slow machine,
// before it is answered for.
const digestRate = 16 << 20
