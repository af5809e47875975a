package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"ringofservers.dev/ring"
)

const (
	// busWait is how long a request that needs others may take, unless it says timeout.
	busWait    = 10 * time.Second
	busWaitMax = 5 * time.Minute
)

func (a *api) busStatus(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, a.ring.Bus().Status())
}

// busGet answers with one entry: linearizable, or with ?local what is here.
func (a *api) busGet(w http.ResponseWriter, req *http.Request) {
	key := req.PathValue("key")
	if req.URL.Query().Has("local") {
		e, ok := a.ring.Bus().Peek(key)
		if !ok {
			refuse(w, http.StatusNotFound, fmt.Sprintf("there is no key %q here", key))
			return
		}
		writeJSON(w, http.StatusOK, entryObject{1, e})
		return
	}
	a.within(w, req, func(ctx context.Context) (any, error) {
		e, err := a.ring.Bus().Get(ctx, key)
		return entryObject{1, e}, err
	})
}

func (a *api) busList(w http.ResponseWriter, req *http.Request) {
	a.within(w, req, func(ctx context.Context) (any, error) {
		entries, err := a.ring.Bus().List(ctx, req.URL.Query().Get("prefix"))
		if entries == nil {
			entries = []ring.Entry{}
		}
		return map[string]any{"v": 1, "entries": entries}, err
	})
}

// busPut writes the body as the key's value; ?if_revision=N only if the key was
// last written at that revision, 0 for if it does not exist.
func (a *api) busPut(w http.ResponseWriter, req *http.Request) {
	if ownKey(w, req) {
		return
	}
	value, err := io.ReadAll(http.MaxBytesReader(w, req.Body, ring.ValueMax))
	if err != nil {
		refuse(w, http.StatusRequestEntityTooLarge,
			fmt.Sprintf("a value has %d bytes at most", ring.ValueMax))
		return
	}
	old, has, err := revision(req)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	a.within(w, req, func(ctx context.Context) (any, error) {
		var rev uint64
		var err error
		if has {
			rev, err = a.ring.Bus().Swap(ctx, req.PathValue("key"), value, old)
		} else {
			rev, err = a.ring.Bus().Set(ctx, req.PathValue("key"), value)
		}
		return map[string]any{"v": 1, "revision": rev}, err
	})
}

func (a *api) busDelete(w http.ResponseWriter, req *http.Request) {
	if ownKey(w, req) {
		return
	}
	old, _, err := revision(req)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	a.within(w, req, func(ctx context.Context) (any, error) {
		rev, err := a.ring.Bus().Delete(ctx, req.PathValue("key"), old)
		return map[string]any{"v": 1, "revision": rev}, err
	})
}

// ownKeys begins the keys of what the ring itself keeps on the bus, such as tokens.
const ownKeys = "ring/"

// ownKey refuses to write a key that only the commands for what is below it may write: who
// may give tokens must be seen to have done so.
func ownKey(w http.ResponseWriter, req *http.Request) bool {
	own := strings.HasPrefix(req.PathValue("key"), ownKeys)
	if own {
		refuse(w, http.StatusForbidden, fmt.Sprintf("keys below %s are the ring's own, and written by the "+
			"commands for what is there, such as ring token; choose another key", ownKeys))
	}
	return own
}

func (a *api) busBackup(w http.ResponseWriter, _ *http.Request) {
	b, err := a.ring.Bus().Backup()
	if err != nil {
		refuseBus(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	_, _ = w.Write(b)
}

func (a *api) busRestore(w http.ResponseWriter, req *http.Request) {
	b, err := io.ReadAll(http.MaxBytesReader(w, req.Body, ring.BackupMax))
	if err != nil {
		refuse(w, http.StatusRequestEntityTooLarge, "read the backup: "+err.Error())
		return
	}
	a.within(w, req, func(ctx context.Context) (any, error) {
		return a.ring.Bus().Status(), a.ring.Bus().Restore(ctx, b)
	})
}

func (a *api) busRecover(w http.ResponseWriter, req *http.Request) {
	force := req.URL.Query().Get("force") == "true"
	before := a.ring.Bus().Status()
	a.within(w, req, func(ctx context.Context) (any, error) {
		err := a.ring.Bus().Recover(ctx, force)
		return map[string]any{"v": 1, "before": before, "after": a.ring.Bus().Status()}, err
	})
}

func revision(req *http.Request) (old uint64, has bool, err error) {
	text := req.URL.Query().Get("if_revision")
	if text == "" {
		return 0, false, nil
	}
	old, err = strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, false, fmt.Errorf("if_revision=%q is no revision: give the number that a read shows", text)
	}
	return old, true, nil
}

// lateError is that what was to be done within a time was not.
type lateError time.Duration

func (e lateError) Error() string { return fmt.Sprintf("not within %v", time.Duration(e)) }

func (lateError) Is(target error) bool { return target == context.DeadlineExceeded }

// bounded is the time that a request may take, or refuses it.
func bounded(w http.ResponseWriter, req *http.Request) (ctx context.Context, cancel func(), ok bool) {
	wait := busWait
	if text := req.URL.Query().Get("timeout"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil || d <= 0 || d > busWaitMax {
			refuse(w, http.StatusBadRequest,
				fmt.Sprintf("timeout=%q: give a duration up to %v", text, busWaitMax))
			return nil, nil, false
		}
		wait = d
	}
	ctx, cancel = context.WithTimeoutCause(req.Context(), wait, lateError(wait))
	return ctx, cancel, true
}

// within does one request within its time and answers with what came of it.
func (a *api) within(w http.ResponseWriter, req *http.Request, do func(context.Context) (any, error)) {
	ctx, cancel, ok := bounded(w, req)
	if !ok {
		return
	}
	defer cancel()
	body, err := do(ctx)
	if err != nil {
		refuseBus(w, err)
		return
	}
	writeJSON(w, http.StatusOK, body)
}

// refuseBus says why the fleet did not do it.
func refuseBus(w http.ResponseWriter, err error) {
	var conflict *ring.ConflictError
	switch {
	case errors.As(err, &conflict):
		writeJSON(w, http.StatusConflict, map[string]any{
			"v": 1, "error": err.Error(), "revision": conflict.Revision,
		})
	case errors.Is(err, ring.ErrNotFound):
		refuse(w, http.StatusNotFound, err.Error())
	case errors.Is(err, ring.ErrRefused):
		refuse(w, http.StatusUnprocessableEntity, err.Error())
	case errors.Is(err, ring.ErrUncertain), errors.Is(err, ring.ErrLost),
		errors.Is(err, context.DeadlineExceeded):
		refuse(w, http.StatusGatewayTimeout, err.Error())
	default: // no quorum, or the instance is going away
		refuse(w, http.StatusServiceUnavailable, err.Error())
	}
}
