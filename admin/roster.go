package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"ringofservers.dev/ring"
)

const (
	// rosterBodyMax bounds what is read of a change, in bytes: some hundred steps, in the
	// words of a plan.
	rosterBodyMax = 1 << 20
	// behindWait is how long those who go by an older roster have to say so.
	behindWait = time.Second
)

// RosterTopic is what every instance answers with the version of the roster that it goes
// by, see RosterAnswer. Without answers it is not known who is behind.
const RosterTopic = "ring/roster"

// RosterAnswer is what r says when RosterTopic is gathered, for ring.Ring.Answer.
func RosterAnswer(r *ring.Ring) func(context.Context, ring.Question) ([]byte, error) {
	return func(context.Context, ring.Question) ([]byte, error) {
		return json.Marshal(r.RosterVersion())
	}
}

// rosters is what of a ring changes its roster.
type rosters interface {
	PlanRoster(changes ...ring.RosterChange) (ring.RosterPlan, error)
	ChangeRoster(ctx context.Context, plan ring.RosterPlan) (ring.RosterVersion, error)
	RosterEverywhere(ctx context.Context, number uint64) error
}

// rosterBody is the answer of /v1/roster; the order of names is the roster's.
type rosterBody struct {
	V         int         `json:"v"`
	Ring      string      `json:"ring"`
	Hash      string      `json:"hash"`
	Names     []ring.Name `json:"names"`
	Addresses []string    `json:"addresses"`
	Degree    int         `json:"degree"`  // as it was set; 0: the default of the size
	Links     int         `json:"links"`   // of each instance, which follows from it
	Version   uint64      `json:"version"` // 1: as all were started
	Chain     string      `json:"chain"`
	Seed      string      `json:"seed"`     // hash of version 1, empty where it is not known
	Retired   []int       `json:"retired"`  // indexes of those who are out for good
	Promoted  []int       `json:"promoted"` // of those who are to vote before others
	Demoted   []int       `json:"demoted"`  // of those who are not to vote
}

func (a *api) roster(w http.ResponseWriter, _ *http.Request) {
	version, roster := a.ring.RosterVersion(), a.ring.Roster()
	for now := a.ring.RosterVersion(); now != version; now = a.ring.RosterVersion() {
		version, roster = now, a.ring.Roster() // it was changed between the two
	}
	writeJSON(w, http.StatusOK, rosterBody{
		V: 1, Ring: a.ring.Status().Ring, Hash: version.Hash,
		Names: roster.Names, Addresses: roster.Addresses, Degree: roster.Degree,
		Links: roster.Links(), Version: version.Number, Chain: version.Chain, Seed: version.Seed,
		Retired: append([]int{}, roster.Retired...), Promoted: append([]int{}, roster.Promoted...),
		Demoted: append([]int{}, roster.Demoted...),
	})
}

// planObject is a plan with its version.
type planObject struct {
	V int `json:"v"`
	ring.RosterPlan
}

// rosterPlan says what the changes of the body would come to. Refused is not empty where
// they may not be made; the answer is 200 all the same.
func (a *api) rosterPlan(w http.ResponseWriter, req *http.Request) {
	asked, ok := rosterWish(w, req)
	if !ok {
		return
	}
	plan, err := a.rosters.PlanRoster(asked.Changes...)
	if err != nil {
		refuseRoster(w, err)
		return
	}
	writeJSON(w, http.StatusOK, planObject{1, plan})
}

// rosterChange makes the changes of the body, which is what rosterPlan answered, or as much
// of it as matters: the changes, and the version they were planned on.
func (a *api) rosterChange(w http.ResponseWriter, req *http.Request) {
	asked, ok := rosterWish(w, req)
	if !ok {
		return
	}
	if asked.Base.Number == 0 || asked.Base.Chain == "" {
		refuse(w, http.StatusBadRequest, "base is missing, the version that the changes were planned "+
			"on: send what POST /v1/roster/plan answers")
		return
	}
	plan, err := a.rosters.PlanRoster(asked.Changes...)
	switch {
	case err != nil:
		refuseRoster(w, err)
		return
	case plan.Base.Number != asked.Base.Number || plan.Base.Chain != asked.Base.Chain:
		refuseRoster(w, fmt.Errorf("%w: it was planned on version %d, and this is version %d",
			ring.ErrRosterChanged, asked.Base.Number, plan.Base.Number))
		return
	}
	ctx, cancel, ok := bounded(w, req)
	if !ok {
		return
	}
	defer cancel()
	version, err := a.rosters.ChangeRoster(ctx, plan)
	if err != nil {
		refuseRoster(w, err)
		return
	}
	if a.options.Logger != nil { // the audit line does not say what
		a.options.Logger.Info("roster changed", "by", CallerOf(req).String(), "version", version.Number,
			"changes", plan.Changes)
	}
	writeJSON(w, http.StatusOK, map[string]any{"v": 1, "version": version})
}

// rosterWish reads the body of a request to plan or to change.
func rosterWish(w http.ResponseWriter, req *http.Request) (asked ring.RosterPlan, ok bool) {
	err := json.NewDecoder(http.MaxBytesReader(w, req.Body, rosterBodyMax)).Decode(&asked)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		refuse(w, http.StatusRequestEntityTooLarge,
			fmt.Sprintf("a change has %d bytes at most; make it in several steps", rosterBodyMax))
	case err != nil:
		refuse(w, http.StatusBadRequest, fmt.Sprintf("the body is no change of a roster, such as "+
			`{"changes":[{"kind":"retire","name":"dc1/prod/0"}]}: %v`, err))
	}
	return asked, err == nil
}

// everywhereObject says who has a version of the roster. Without Everywhere it is what the
// living said when they were asked; who did not answer may have it or not.
type everywhereObject struct {
	V          int         `json:"v"`
	Version    uint64      `json:"version"`
	Everywhere bool        `json:"everywhere"`
	Have       int         `json:"have"` // how many have said that they go by it, 0 if Everywhere
	Behind     []ring.Name `json:"behind"`
	Silent     []ring.Name `json:"silent"`
}

// rosterEverywhere waits until all have ?version=, the one of this instance if there is
// none, for ?timeout= at most. Then it asks who has not.
func (a *api) rosterEverywhere(w http.ResponseWriter, req *http.Request) {
	e := everywhereObject{
		V: 1, Version: a.ring.RosterVersion().Number, Behind: []ring.Name{}, Silent: []ring.Name{},
	}
	if text := req.URL.Query().Get("version"); text != "" {
		var err error
		if e.Version, err = strconv.ParseUint(text, 10, 64); err != nil {
			refuse(w, http.StatusBadRequest,
				fmt.Sprintf("version=%q is none: give the number that GET /v1/roster shows", text))
			return
		}
	}
	ctx, cancel, ok := bounded(w, req)
	if !ok {
		return
	}
	defer cancel()
	switch err := a.rosters.RosterEverywhere(ctx, e.Version); {
	case err == nil:
		e.Everywhere = true
	case ctx.Err() == nil:
		refuseRoster(w, err)
		return
	default:
		a.askBehind(req.Context(), &e)
	}
	writeJSON(w, http.StatusOK, e)
}

// askBehind asks all who live by which version they go.
func (a *api) askBehind(ctx context.Context, e *everywhereObject) {
	ctx, cancel := context.WithTimeout(ctx, behindWait)
	defer cancel()
	all, err := a.ring.Gather(ctx, RosterTopic, nil, nil)
	if err != nil {
		return // nobody has said anything
	}
	for _, reply := range all.Replies {
		var version ring.RosterVersion
		switch {
		case json.Unmarshal(reply.Value, &version) != nil:
			e.Silent = append(e.Silent, reply.From)
		case version.Number < e.Version:
			e.Behind = append(e.Behind, reply.From)
		default:
			e.Have++
		}
	}
	e.Silent = append(e.Silent, all.Failed...)
	for _, absent := range all.Missing {
		if absent.State == ring.Alive || absent.State == ring.Suspect {
			e.Silent = append(e.Silent, absent.Name)
		}
	}
}

// refuseRoster says why a roster was not changed.
func refuseRoster(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, ring.ErrRosterChanged):
		refuse(w, http.StatusConflict, err.Error())
	case errors.Is(err, ring.ErrConfig):
		refuse(w, http.StatusBadRequest, err.Error())
	default:
		refuseBus(w, err)
	}
}
