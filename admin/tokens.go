package admin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ringofservers.dev/ring"
)

// TokensMax is how many tokens a fleet has at most.
const TokensMax = 256

const (
	tokenKeys      = ownKeys + "tokens/"          // below it are their keys on the bus
	tokenPrefix    = "ring_"                      // so that scanners for secrets find one
	tokenBytes     = 32                           // of chance in one: nobody guesses that
	tokenNameMax   = 64                           // bytes
	tokenExpiryMax = 10 * 365 * 24 * time.Hour    // from its creation
	tokenRecordV   = 1                            // version of tokenRecord
	tokenNames     = "letters, digits, . _ and -" // what a name is made of
)

// tokenRecord is a token on the bus. Of the secret there is but a hash, which is of no use
// to who reads it: nobody finds 256 random bits by theirs.
type tokenRecord struct {
	V       int        `json:"v"`
	Hash    string     `json:"hash"` // SHA-256 of all of the token, in hex
	Role    string     `json:"role"`
	Created time.Time  `json:"created"`
	Expires *time.Time `json:"expires"` // null: never
	By      string     `json:"by"`      // who has created it, and by what he was known
}

// token is one that this instance knows of.
type token struct {
	name    string
	role    Role
	hash    [sha256.Size]byte
	expires time.Time // zero: never
}

// tokens are those of the bus as this instance has it, with a quorum or without: one that is
// cut off goes on to take what was revoked meanwhile, until it expires. Safe for concurrent
// use.
type tokens struct {
	bus    *ring.Bus
	logger *slog.Logger // may be nil

	mu    sync.Mutex // held while index is made, so that none is replaced by an older one
	index atomic.Pointer[map[uint64][]token]
}

// newTokens keeps up with the bus until the ring ends.
func newTokens(bus *ring.Bus, logger *slog.Logger) *tokens {
	t := &tokens{bus: bus, logger: logger}
	bus.OnChange(tokenKeys, t.read)
	t.read()
	return t
}

// read makes the index anew of what is on the bus. What cannot be read lets nobody in.
func (t *tokens) read() {
	t.mu.Lock()
	defer t.mu.Unlock()
	index := map[uint64][]token{}
	for i, e := range t.bus.PeekAll(tokenKeys) {
		name := strings.TrimPrefix(e.Key, tokenKeys)
		if i == TokensMax { // those before are enough to look at
			t.warn(name, fmt.Errorf("there are more than %d", TokensMax))
			break
		}
		one, err := parseToken(name, e.Value)
		if err != nil {
			t.warn(name, err)
			continue
		}
		at := place(one.hash)
		index[at] = append(index[at], one)
	}
	t.index.Store(&index)
}

func (t *tokens) warn(name string, err error) {
	if t.logger != nil {
		t.logger.Warn("token does not count", "token", name, "err", err)
	}
}

func parseToken(name string, value []byte) (token, error) {
	var r tokenRecord
	if err := json.Unmarshal(value, &r); err != nil {
		return token{}, fmt.Errorf("read it: %w", err)
	}
	if r.V != tokenRecordV {
		return token{}, fmt.Errorf("it is of version %d, which this build does not know", r.V)
	}
	role, err := ParseRole(r.Role)
	if err != nil {
		return token{}, err
	}
	one := token{name: name, role: role}
	if n, err := hex.Decode(one.hash[:], []byte(r.Hash[:min(len(r.Hash), 2*len(one.hash))])); err != nil ||
		n != len(one.hash) || len(r.Hash) != 2*n {
		return token{}, errors.New("its hash is none of SHA-256")
	}
	if r.Expires != nil {
		one.expires = *r.Expires
	}
	return one, nil
}

// place is where in the index a hash is.
func place(hash [sha256.Size]byte) uint64 { return binary.BigEndian.Uint64(hash[:]) }

// find returns the token that a secret is of, if it counts now.
func (t *tokens) find(secret string, now time.Time) (token, bool) {
	hash := sha256.Sum256([]byte(secret))
	for _, one := range (*t.index.Load())[place(hash)] {
		if subtle.ConstantTimeCompare(one.hash[:], hash[:]) == 1 {
			return one, one.expires.IsZero() || now.Before(one.expires)
		}
	}
	return token{}, false
}

// tokenObject is a token as it is shown.
type tokenObject struct {
	V       int        `json:"v"`
	Name    string     `json:"name"`
	Token   string     `json:"token,omitempty"` // once, when it is created
	Role    string     `json:"role"`
	Created time.Time  `json:"created"`
	Expires *time.Time `json:"expires"`
	Expired bool       `json:"expired"`
	By      string     `json:"by"`
}

// tokenList answers with all, without their secrets, which nobody has.
func (a *api) tokenList(w http.ResponseWriter, req *http.Request) {
	a.within(w, req, func(ctx context.Context) (any, error) {
		entries, err := a.ring.Bus().List(ctx, tokenKeys)
		shown, now := []tokenObject{}, time.Now()
		for _, e := range entries {
			var r tokenRecord
			name := strings.TrimPrefix(e.Key, tokenKeys)
			if _, wrong := parseToken(name, e.Value); wrong != nil || json.Unmarshal(e.Value, &r) != nil {
				continue // it lets nobody in, which the log says
			}
			shown = append(shown, tokenObject{
				V: 1, Name: name, Role: r.Role, Created: r.Created, Expires: r.Expires,
				Expired: r.Expires != nil && !now.Before(*r.Expires), By: r.By,
			})
		}
		return map[string]any{"v": 1, "tokens": shown}, err
	})
}

// tokenCreate makes a token of ?role= that lasts for ?expires=, or for ever, and answers
// with it. It is not to be had again.
func (a *api) tokenCreate(w http.ResponseWriter, req *http.Request) {
	name, now := req.PathValue("name"), time.Now().UTC().Truncate(time.Second)
	r := tokenRecord{V: tokenRecordV, Role: req.URL.Query().Get("role"), Created: now, By: CallerOf(req).String()}
	err := checkTokenName(name)
	if role, wrong := ParseRole(r.Role); wrong != nil || role == Nobody {
		err = errors.Join(err, fmt.Errorf("role=%q: give read or admin", r.Role))
	}
	if text := req.URL.Query().Get("expires"); text != "" {
		d, wrong := time.ParseDuration(text)
		if wrong != nil || d <= 0 || d > tokenExpiryMax {
			err = errors.Join(err, fmt.Errorf("expires=%q: give a duration up to %v", text, tokenExpiryMax))
		}
		r.Expires = new(now.Add(d))
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	if len(a.ring.Bus().PeekAll(tokenKeys)) >= TokensMax {
		refuse(w, http.StatusUnprocessableEntity,
			fmt.Sprintf("there are %d tokens, and no more can be: revoke one that nobody uses", TokensMax))
		return
	}
	var chance [tokenBytes]byte
	_, _ = rand.Read(chance[:]) // which never fails
	secret := tokenPrefix + base64.RawURLEncoding.EncodeToString(chance[:])
	hash := sha256.Sum256([]byte(secret))
	r.Hash = hex.EncodeToString(hash[:])
	value, err := json.Marshal(r)
	if err != nil {
		refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	a.within(w, req, func(ctx context.Context) (any, error) {
		_, err := a.ring.Bus().Swap(ctx, tokenKeys+name, value, 0)
		if conflict := new(ring.ConflictError); errors.As(err, &conflict) {
			return nil, &takenError{name, conflict}
		}
		a.tokens.read() // who has its answer can use it here
		return tokenObject{
			V: 1, Name: name, Token: secret, Role: r.Role, Created: r.Created, Expires: r.Expires, By: r.By,
		}, err
	})
}

// takenError says of a conflict what it means.
type takenError struct {
	name     string
	conflict error
}

func (e *takenError) Error() string {
	return fmt.Sprintf("a token named %s is there already: revoke it first, or choose another name", e.name)
}

func (e *takenError) Unwrap() error { return e.conflict }

func (a *api) tokenRevoke(w http.ResponseWriter, req *http.Request) {
	name := req.PathValue("name")
	a.within(w, req, func(ctx context.Context) (any, error) {
		_, err := a.ring.Bus().Delete(ctx, tokenKeys+name, 0)
		if errors.Is(err, ring.ErrNotFound) {
			err = fmt.Errorf("%w: there is no token named %s", ring.ErrNotFound, name)
		}
		a.tokens.read()
		return map[string]any{"v": 1, "revoked": name}, err
	})
}

func checkTokenName(name string) error {
	if name == "" || len(name) > tokenNameMax || strings.ContainsFunc(name, otherThan("._-")) {
		return fmt.Errorf("%q is no name of a token: up to %d %s", name, tokenNameMax, tokenNames)
	}
	return nil
}

// otherThan says of a rune whether it is neither a letter or digit of ASCII nor one of signs.
func otherThan(signs string) func(rune) bool {
	return func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && !strings.ContainsRune(signs, r)
	}
}
