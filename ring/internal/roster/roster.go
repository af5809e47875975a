package roster

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"ringofservers.dev/ring/internal/overlay"
	"ringofservers.dev/ring/internal/wire"
)

// Roster is an ordered list of instances. It is never written after New.
type Roster struct {
	Ring   string   // name of the ring
	Names  []string // index -> name
	Addrs  []string // index -> host:port, not resolved; may be empty
	Degree int      // links of each instance, 0 for the default of its size

	Version uint64 // 1 for a seed, one more for each change
	notes   []note // by index; nil where there is nothing to note
	members int    // who is not retired
	hash    [32]byte
	chain   [32]byte
	past    [][32]byte
	index   map[string]int // of those who are not retired
}

// New checks and copies a roster. addrs is empty, where nobody dials, or has
// one host:port for each name; of those at the indexes of retired, which ascend, it may
// be empty. The error joins all faults that were found (of
// many alike the first few), and each says what to do.
func New(ring string, names, addrs []string, degree int, retired ...int) (*Roster, error) {
	if len(names) > wire.RosterMax {
		return nil, fmt.Errorf("the roster has %d instances, at most %d are possible: shorten it",
			len(names), wire.RosterMax)
	}
	r := &Roster{
		Ring:   ring,
		Names:  append([]string(nil), names...),
		Addrs:  append([]string(nil), addrs...),
		Degree: degree,

		Version: 1, members: len(names),
		index: make(map[string]int, len(names)),
	}
	if err := r.withRetired(retired); err != nil {
		return nil, err
	}
	var f faults
	r.check(&f)
	if err := f.join(); err != nil {
		return nil, err
	}
	r.hash = r.digest()
	r.chain = r.hash
	return r, nil
}

func (r *Roster) check(f *faults) {
	r.checkRing(f)
	r.checkNames(f)
	r.checkAddrs(f)
}

func (r *Roster) checkRing(f *faults) {
	if fault := elementFault(r.Ring); fault != "" || len(r.Ring) > wire.NameMax {
		if fault == "" {
			fault = fmt.Sprintf("has %d bytes, at most %d are possible", len(r.Ring), wire.NameMax)
		}
		f.add("ring name %s %s: %s", quoted(r.Ring), fault, alphabet)
	}
	if err := overlay.CheckDegree(r.Degree); err != nil {
		f.add("%w", err)
	}
	if len(r.Names) == 0 {
		f.add("the roster is empty: list at least one instance")
	}
}

func (r *Roster) checkNames(f *faults) {
	for i, name := range r.Names {
		if err := CheckName(name); err != nil {
			f.add("instance %d: %w", i, err)
		}
		if r.Retired(i) {
			continue
		}
		if first, twice := r.index[name]; twice {
			f.add("instances %d and %d are both named %s: rename or remove one",
				first, i, quoted(name))
			continue
		}
		r.index[name] = i
	}
}

func (r *Roster) checkAddrs(f *faults) {
	if len(r.Addrs) == 0 {
		return
	}
	if len(r.Addrs) != len(r.Names) {
		f.add("%d addresses for %d instances: give each instance one",
			len(r.Addrs), len(r.Names))
		return
	}
	at := make(map[string]int, len(r.Addrs))
	for i, addr := range r.Addrs {
		if r.Retired(i) {
			continue
		}
		if err := CheckAddr(addr); err != nil {
			f.add("instance %d (%s): %w", i, r.Names[i], err)
			continue
		}
		if first, twice := at[addr]; twice {
			f.add("instances %d (%s) and %d (%s) share the address %s: give each its own",
				first, r.Names[first], i, r.Names[i], addr)
			continue
		}
		at[addr] = i
	}
}

// Len returns how many instances there are, with those who are retired.
func (r *Roster) Len() int { return len(r.Names) }

// Index returns the place of name in the roster, or -1. A name that is retired has none.
func (r *Roster) Index(name string) int {
	if i, ok := r.index[name]; ok {
		return i
	}
	return -1
}

// Addr returns the address of instance i, empty in a roster without addresses.
func (r *Roster) Addr(i int) string {
	if len(r.Addrs) == 0 {
		return ""
	}
	return r.Addrs[i]
}

// Hash identifies what instances must agree on before they link: the ring's
// name, the degree in effect, the names in order, and who of them is retired. Addresses
// are not in it.
func (r *Roster) Hash() [32]byte { return r.hash }

func (r *Roster) digest() (sum [32]byte) {
	h := sha256.New()
	buf := []byte("ring/roster/1\x00")
	buf = appendCounted(buf, r.Ring)
	buf = binary.BigEndian.AppendUint32(buf, uint32(overlay.Links(r.members, r.Degree)))
	buf = binary.BigEndian.AppendUint32(buf, uint32(len(r.Names)))
	for _, name := range r.Names {
		buf = appendCounted(buf, name)
		h.Write(buf)
		buf = buf[:0]
	}
	for i, o := range r.notes {
		if o.retired {
			buf = binary.BigEndian.AppendUint32(buf, uint32(i))
		}
	}
	h.Write(buf)
	h.Sum(sum[:0])
	return sum
}

// Prefix identifies the first n names, in order: a roster that has others in front
// of them gives its indexes to others.
func (r *Roster) Prefix(n int) (sum [32]byte) {
	h := sha256.New()
	buf := []byte("ring/names/1\x00")
	for _, name := range r.Names[:n] {
		buf = appendCounted(buf, name)
		h.Write(buf)
		buf = buf[:0]
	}
	h.Sum(sum[:0])
	return sum
}

func appendCounted(dst []byte, s string) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(s)))
	return append(dst, s...)
}

const alphabet = "use letters, digits, '.', '_' and '-'"

// CheckName says what is wrong with name as the path of an instance, or nil:
// elements of A-Z a-z 0-9 . _ - joined by '/', none of them empty, "." or "..".
func CheckName(name string) error {
	if len(name) > wire.NameMax {
		return fmt.Errorf("name %s has %d bytes, at most %d are possible: shorten it",
			quoted(name), len(name), wire.NameMax)
	}
	for element := range strings.SplitSeq(name, "/") {
		if fault := elementFault(element); fault != "" {
			return fmt.Errorf("name %s: element %s %s: %s, with '/' between elements",
				quoted(name), quoted(element), fault, alphabet)
		}
	}
	return nil
}

// elementFault completes the sentence that starts with a path element.
func elementFault(s string) string {
	switch s {
	case "":
		return "is empty"
	case ".", "..":
		return "is no name"
	}
	for _, c := range s {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.', c == '_', c == '-':
		default:
			return fmt.Sprintf("contains %q", c)
		}
	}
	return ""
}

// CheckAddr says what is wrong with addr as host:port, or nil. An IPv6 host
// stands in brackets; the port is a number from 1 to 65535.
func CheckAddr(addr string) error {
	const want = "write host:port, such as 10.0.0.1:3000 or [::1]:3000"
	colon := strings.LastIndexByte(addr, ':')
	if colon < 0 {
		return fmt.Errorf("address %s has no port: %s", quoted(addr), want)
	}
	host, port := addr[:colon], addr[colon+1:]
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("address %s: port %s is no number from 1 to 65535: %s",
			quoted(addr), quoted(port), want)
	}
	inner, bracketed := strings.CutPrefix(host, "[")
	if bracketed {
		inner, bracketed = strings.CutSuffix(inner, "]")
	}
	if inner == "" {
		return fmt.Errorf("address %s has no host: %s", quoted(addr), want)
	}
	for _, c := range inner {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.', c == '_', c == '-':
		case bracketed && (c == ':' || c == '%'):
		default:
			return fmt.Errorf("address %s: host contains %q: %s", quoted(addr), c, want)
		}
	}
	return nil
}

// faults collects errors: all of them, as long as a person will read them.
type faults struct {
	errs []error
	more int
}

const faultsMax = 20

func (f *faults) add(format string, args ...any) {
	if len(f.errs) == faultsMax {
		f.more++
		return
	}
	f.errs = append(f.errs, fmt.Errorf(format, args...))
}

func (f *faults) join() error {
	if f.more > 0 {
		f.errs = append(f.errs, fmt.Errorf("and %d more faults: mend these first", f.more))
	}
	return errors.Join(f.errs...)
}

// quoted makes s fit to print, however long or strange it is.
func quoted(s string) string {
	const most = 80
	if len(s) > most {
		return strconv.Quote(s[:most]) + "…"
	}
	return strconv.Quote(s)
}
