package roster

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"ringofservers.dev/ring/internal/wire"
)

// Expand returns the names that pattern stands for, the leftmost brace varying
// fastest: dc{1..3}/prod/{0..1} is dc1/prod/0, dc2/prod/0, dc3/prod/0,
// dc1/prod/1 and so on. A brace holds items between commas, {a,b}; an item may
// be a range of numbers, {1..3,7}, which keeps the width of a first number
// written with leading zeros, {08..11}. A pattern without braces is itself.
//
// The result is at most wire.RosterMax strings of at most wire.NameMax bytes;
// beyond that, and for braces that are open, nested or empty, there is an
// error. Whether the strings are good names is for New to say.
func Expand(pattern string) ([]string, error) {
	parts, total, err := parse(pattern)
	if err != nil {
		return nil, fmt.Errorf("pattern %s: %w", quoted(pattern), err)
	}
	names := make([]string, total)
	var b strings.Builder
	for i := range names {
		b.Reset()
		rest := i
		for _, p := range parts {
			b.WriteString(p[rest%len(p)])
			rest /= len(p)
		}
		names[i] = b.String()
	}
	return names, nil
}

// parse cuts pattern into parts, each the list of what may stand there; a
// literal is a list of one. total is the product of their lengths.
func parse(pattern string) (parts [][]string, total int, err error) {
	if pattern == "" {
		return nil, 0, errors.New("it is empty: write a name")
	}
	total = 1
	length := 0 // of the longest string so far
	for pattern != "" {
		var part []string
		if part, pattern, err = nextPart(pattern); err != nil {
			return nil, 0, err
		}
		if total *= len(part); total > wire.RosterMax {
			return nil, 0, fmt.Errorf("it stands for more than %d names: use smaller ranges",
				wire.RosterMax)
		}
		longest := 0
		for _, s := range part {
			longest = max(longest, len(s))
		}
		if length += longest; length > wire.NameMax {
			return nil, 0, fmt.Errorf("it makes names over %d bytes: shorten it", wire.NameMax)
		}
		parts = append(parts, part)
	}
	return parts, total, nil
}

// nextPart takes the first literal or brace off pattern, which is not empty.
func nextPart(pattern string) (part []string, rest string, err error) {
	if pattern[0] != '{' {
		end := strings.IndexAny(pattern, "{}")
		if end < 0 {
			end = len(pattern)
		}
		if end == 0 {
			return nil, "", errors.New("'}' without '{': remove it or open the brace")
		}
		return []string{pattern[:end]}, pattern[end:], nil
	}
	inner, rest, closed := strings.Cut(pattern[1:], "}")
	switch {
	case !closed:
		return nil, "", errors.New("'{' without '}': close the brace")
	case strings.Contains(inner, "{"):
		return nil, "", errors.New("a brace within a brace: write two patterns instead")
	}
	for item := range strings.SplitSeq(inner, ",") {
		if part, err = appendItem(part, item); err != nil {
			return nil, "", err
		}
	}
	return part, rest, nil
}

// appendItem adds what one item of a brace stands for.
func appendItem(part []string, item string) ([]string, error) {
	from, to, isRange := strings.Cut(item, "..")
	switch {
	case item == "":
		return nil, errors.New("a brace with an empty item: fill it or remove the comma")
	case len(part) >= wire.RosterMax:
		return nil, fmt.Errorf("a brace of more than %d items: shorten it", wire.RosterMax)
	case !isRange:
		return append(part, item), nil
	}
	first, err1 := strconv.ParseUint(from, 10, 31)
	last, err2 := strconv.ParseUint(to, 10, 31)
	switch {
	case err1 != nil || err2 != nil:
		return nil, fmt.Errorf("range %s is not of two numbers: write {1..3}", quoted(item))
	case first > last:
		return nil, fmt.Errorf("range %s goes down: write {%d..%d}", quoted(item), last, first)
	case last-first >= uint64(wire.RosterMax-len(part)):
		return nil, fmt.Errorf("range %s is of more than %d: use a smaller one",
			quoted(item), wire.RosterMax)
	case len(from) > wire.NameMax:
		return nil, fmt.Errorf("range %s is too wide: use fewer zeros", quoted(item))
	}
	width := 1
	if from[0] == '0' {
		width = len(from)
	}
	for n := first; n <= last; n++ {
		part = append(part, fmt.Sprintf("%0*d", width, n))
	}
	return part, nil
}

// Address fills template for the instance of that name and index: {name} is
// the whole name, {1}, {2} … an element of its path, {index} the index, and
// {3000+index} a number plus the index, as for ports. The result is checked
// with CheckAddr.
func Address(template, name string, index int) (string, error) {
	elements := strings.Split(name, "/")
	var b strings.Builder
	rest := template
	for {
		literal, after, open := strings.Cut(rest, "{")
		b.WriteString(literal)
		if !open {
			break
		}
		word, after, closed := strings.Cut(after, "}")
		if !closed {
			return "", fmt.Errorf("addresses %s: '{' without '}': close the brace",
				quoted(template))
		}
		value, err := placeholder(word, name, elements, index)
		if err != nil {
			return "", fmt.Errorf("addresses %s: %w", quoted(template), err)
		}
		b.WriteString(value)
		rest = after
	}
	addr := b.String()
	if err := CheckAddr(addr); err != nil {
		return "", fmt.Errorf("addresses %s, instance %d (%s): %w",
			quoted(template), index, name, err)
	}
	return addr, nil
}

// placeholder returns what stands for {word} in an address.
func placeholder(word, name string, elements []string, index int) (string, error) {
	switch word {
	case "name":
		return name, nil
	case "index":
		return strconv.Itoa(index), nil
	}
	if base, ok := strings.CutSuffix(word, "+index"); ok {
		if n, err := strconv.ParseUint(base, 10, 31); err == nil {
			return strconv.Itoa(int(n) + index), nil
		}
	}
	n, err := strconv.Atoi(word)
	switch {
	case err != nil:
		return "", fmt.Errorf("{%s} is unknown: use {name}, {1}, {index} or {3000+index}",
			strings.Trim(quoted(word), `"`))
	case n < 1 || n > len(elements):
		return "", fmt.Errorf("{%d} is no element of the name %s: use 1 to %d",
			n, quoted(name), len(elements))
	}
	return elements[n-1], nil
}

// Addresses returns the address of each name, the first of them at index
// first. The pattern is a template of Address or, where one of its braces is a
// range or a list, what Expand makes of it: one address a name, in order.
func Addresses(pattern string, names []string, first int) ([]string, error) {
	if !hasList(pattern) {
		addrs := make([]string, len(names))
		for i, name := range names {
			var err error
			if addrs[i], err = Address(pattern, name, first+i); err != nil {
				return nil, err
			}
		}
		return addrs, nil
	}
	addrs, err := Expand(pattern)
	switch {
	case err != nil:
		return nil, fmt.Errorf("addresses: %w", err)
	case len(addrs) != len(names):
		return nil, fmt.Errorf("addresses %s: it stands for %d of them, and there are %d names: "+
			"change one of the ranges", quoted(pattern), len(addrs), len(names))
	}
	for i, addr := range addrs {
		if err := CheckAddr(addr); err != nil {
			return nil, fmt.Errorf("addresses %s, instance %d (%s): %w",
				quoted(pattern), first+i, names[i], err)
		}
	}
	return addrs, nil
}

// hasList reports whether a brace of pattern holds a range or a list.
func hasList(pattern string) bool {
	for part := range strings.SplitSeq(pattern, "{") {
		inner, _, closed := strings.Cut(part, "}")
		if closed && (strings.Contains(inner, "..") || strings.Contains(inner, ",")) {
			return true
		}
	}
	return false
}
