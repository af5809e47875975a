package enroll

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"ringofservers.dev/ring"
	"ringofservers.dev/ring/trust"
)

const (
	// deskMax is how many new hosts are seen to at a time by one instance.
	deskMax = 4
	// publishMax bounds what is given to Published, in bytes.
	publishMax = 64 << 10
	// inviteTime bounds the making of an invitation.
	inviteTime = 5 * time.Second
)

// Desk answers over HTTP what concerns certificates: `ring node` has Roots at GET /v1/ca, Join
// at POST /v1/join, Invite at POST /v1/invites/NAME, and Published at POST /v1/ca. Who may ask
// what is for the caller to see to: Roots and Join are for everybody. It is safe for
// concurrent use.
type Desk struct {
	ring   *ring.Ring
	store  *trust.Store
	issuer *Issuer // nil: this instance invites nobody
	preset string
	log    *slog.Logger
	busy   chan struct{} // one token for each new host that is seen to
}

// NewDesk makes one. issuer is this instance's, nil where it has not the authority; preset is
// the pace that new hosts are told.
func NewDesk(r *ring.Ring, store *trust.Store, issuer *Issuer, preset string, logger *slog.Logger) *Desk {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Desk{
		ring: r, store: store, issuer: issuer, preset: preset, log: logger, busy: make(chan struct{}, deskMax),
	}
}

// Roots answers with those of this ring's authority, PEM. They are no secret.
func (d *Desk) Roots(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/x-pem-file")
	_, _ = w.Write(d.store.Material().Roots)
}

// Join brings the Request of a new host before the issuers and answers with a Welcome. Only
// one that an invitation on the bus has signed costs the ring any work.
func (d *Desk) Join(w http.ResponseWriter, req *http.Request) {
	q, err := readRequest(w, req)
	if err == nil && len(q.Chain) > 0 {
		err = errors.New("this is for hosts that were invited; certificates are renewed by instances")
	}
	if err != nil {
		d.refuse(w, http.StatusBadRequest, err)
		return
	}
	if err := d.invited(q); err != nil {
		d.refuse(w, http.StatusForbidden, err)
		return
	}
	select {
	case d.busy <- struct{}{}:
		defer func() { <-d.busy }()
	default:
		d.refuse(w, http.StatusTooManyRequests, &soon{"several hosts join at this moment: ask again in a second", time.Second})
		return
	}
	given, err := Ask(req.Context(), d.ring, *q)
	if err != nil {
		code, later := http.StatusServiceUnavailable, new(soon) // another one may reach an issuer
		switch {
		case errors.As(err, &later):
			code = http.StatusTooManyRequests
		case errors.Is(err, ring.ErrRefused):
			code = http.StatusForbidden
		}
		d.refuse(w, code, err)
		return
	}
	d.log.Info("a new host has a certificate", "name", q.Name, "remote", req.RemoteAddr)
	roster := d.ring.Roster()
	answer(w, http.StatusOK, Welcome{Answer: *given, Preset: d.preset, Roster: &Roster{
		Version: d.ring.RosterVersion().Number, Names: roster.Names, Addresses: roster.Addresses,
		Degree: roster.Degree, Retired: roster.Retired,
	}})
}

func (d *Desk) refuse(w http.ResponseWriter, code int, err error) {
	a := refusal(err)
	if a.Again > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(a.Again))
	}
	answer(w, code, Welcome{Answer: a})
}

// invited holds q against the invitation that this instance knows of.
func (d *Desk) invited(q *Request) error {
	e, ok := d.ring.Bus().Peek(inviteKey(q.Name))
	if !ok {
		return notInvited(q.Name)
	}
	i, err := invitationOf(e.Value, q.Name)
	if err != nil {
		return err
	}
	return i.check(q, time.Now())
}

func readRequest(w http.ResponseWriter, req *http.Request) (*Request, error) {
	text, err := io.ReadAll(http.MaxBytesReader(w, req.Body, requestMax))
	if err != nil {
		return nil, err
	}
	return parseRequest(text)
}

// Invited is the answer of Invite.
type Invited struct {
	V          int       `json:"v"`
	Name       string    `json:"name"`
	Invitation string    `json:"invitation"` // once: nobody has it afterwards
	Expires    time.Time `json:"expires"`
	Error      string    `json:"error,omitempty"`
}

// Invite makes an invitation for the name in the path, good for ?life=, or InviteLife. by
// says who asks.
func (d *Desk) Invite(w http.ResponseWriter, req *http.Request, by string) {
	life := InviteLife
	if text := req.URL.Query().Get("life"); text != "" {
		var err error
		if life, err = time.ParseDuration(text); err != nil {
			answer(w, http.StatusBadRequest, Invited{V: version, Error: "life=" + text + " is no duration: write it as 24h"})
			return
		}
	}
	ctx, cancel := context.WithTimeout(req.Context(), inviteTime)
	defer cancel()
	name := req.PathValue("name")
	if d.issuer == nil {
		answer(w, http.StatusUnprocessableEntity, Invited{V: version, Name: name, Error: "this instance has not the " +
			"authority, and so invites nobody: ask one that was started with --authority"})
		return
	}
	i, err := d.issuer.Invite(ctx, name, life, by)
	if err != nil {
		answer(w, codeOf(err), Invited{V: version, Name: name, Error: err.Error()})
		return
	}
	answer(w, http.StatusOK, Invited{
		V: version, Name: name, Invitation: i.String(), Expires: time.Now().Add(life).UTC().Truncate(time.Second),
	})
}

// Published takes what an authority says (a JSON object with roots and revoked, PEM in
// base64), for the whole fleet.
func (d *Desk) Published(w http.ResponseWriter, req *http.Request) {
	var s says
	text, err := io.ReadAll(http.MaxBytesReader(w, req.Body, publishMax))
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err == nil && len(s.Roots) == 0 {
		err = errors.New("there are no roots in it: send what `ring ca publish` sends")
	}
	if err != nil {
		answer(w, http.StatusBadRequest, map[string]any{"v": version, "error": err.Error()})
		return
	}
	news, err := Publish(req.Context(), d.ring, d.store, s.Roots, s.Revoked)
	if err != nil {
		answer(w, codeOf(err), map[string]any{"v": version, "error": err.Error()})
		return
	}
	answer(w, http.StatusOK, map[string]any{"v": version, "news": news})
}

// codeOf is the status for an error, as those of the bus have it.
func codeOf(err error) int {
	conflict, untrusted := new(ring.ConflictError), new(trust.Error)
	switch {
	case errors.Is(err, ring.ErrNoQuorum), errors.Is(err, ring.ErrUncertain):
		return http.StatusServiceUnavailable
	case errors.As(err, &conflict):
		return http.StatusConflict
	case errors.Is(err, ring.ErrRefused), errors.As(err, &untrusted):
		return http.StatusUnprocessableEntity
	}
	return http.StatusInternalServerError
}

func answer(w http.ResponseWriter, code int, body any) {
	text, err := json.MarshalIndent(body, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(text, '\n'))
}
