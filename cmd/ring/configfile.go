package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// fileMax bounds a settings file in bytes; the largest roster, one table for
// each instance, is a quarter of it.
const fileMax = 8 << 20

// faultsMax is how many faults alike a person reads in one go.
const faultsMax = 20

// fileLayer reads a settings file.
func fileLayer(path string) layer {
	text, err := readSettingsFile(path)
	if err != nil {
		return layer{fault: fmt.Errorf("read settings: %w", err), torn: true}
	}
	return parseFile(path, text)
}

func readSettingsFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, fileMax+1))
	if err == nil && len(text) > fileMax {
		err = fmt.Errorf("%s has more than %d bytes: is it the right file?", path, fileMax)
	}
	return text, err
}

// parseFile reads what stands in a settings file. Its faults say where, as
// file:line:column, and come in the file's order. It does not decode into a
// struct: that would end at the first value of a wrong type, and tell of it in the
// words of this program's source.
func parseFile(path string, text []byte) layer {
	var tree map[string]any
	if err := toml.Unmarshal(text, &tree); err != nil {
		return layer{fault: tomlError(path, err), torn: true}
	}
	p := parse{path: path, text: text, places: placesOf(text)}
	l := layer{values: make(map[string][]string)}
	for _, key := range p.inOrder(tree, "") {
		before := len(p.errs) + p.more
		switch i := slices.IndexFunc(options, func(o option) bool { return o.key == key }); {
		case key == "instance":
			l.groups = p.groups(tree[key])
		case isTable(key):
			p.table(&l, key, tree[key])
		case key == "station":
			l.stations, l.stationsAt = p.stations(tree[key])
		case key == "run":
			l.runs = p.jobs(tree[key])
		case key == "lap":
			l.laps, l.lapsAt = p.laps(tree[key])
		case i < 0:
			p.unknown(key, key)
		default:
			l.values[key] = p.values(options[i], tree[key])
		}
		if len(p.errs)+p.more > before && slices.Contains(instanceKeys, key) {
			l.torn = true
		}
	}
	l.fault = p.faults()
	return l
}

// isTable says whether options stand in a table of that name.
func isTable(name string) bool {
	return slices.ContainsFunc(options, func(o option) bool { return strings.HasPrefix(o.key, name+".") })
}

// table reads a table of options.
func (p *parse) table(l *layer, name string, value any) {
	table, ok := value.(map[string]any)
	if !ok {
		p.fault(p.place(name).value, "%s: want a table, here is %s: write [%s]", name,
			tomlKind(value), name)
		return
	}
	for _, key := range p.inOrder(table, name+".") {
		path := name + "." + key
		i := slices.IndexFunc(options, func(o option) bool { return o.key == path })
		if i < 0 {
			p.unknown(path, path)
			continue
		}
		l.values[path] = p.values(options[i], table[key])
	}
}

// instanceKeys are what instances and their addresses are read from.
var instanceKeys = []string{"roster", "addresses", "retired", "instance"}

// parse is a file of correct TOML, and what else is wrong with it.
type parse struct {
	path   string
	text   []byte
	places map[string]place
	errs   []error
	more   int // faults that are not in errs
}

// place is where a key and its value begin in a file, in bytes.
type place struct{ key, value int }

// placesOf finds the keys of a file by their paths. Each element of a path ends in
// a dot, and [[tables]] are numbered: instance.0.name. is of the first.
func placesOf(text []byte) map[string]place {
	const deepest = 3 // no setting is deeper, and paths without end would fill the memory
	places, tables := make(map[string]place), make(map[string]int)
	var p unstable.Parser
	p.Reset(text)
	table := ""
	for p.NextExpression() {
		e := p.Expression()
		path, begin, end := "", 0, 0
		if e.Kind == unstable.KeyValue {
			path = table
		}
		for it, n := e.Key(), 0; n < deepest && it.Next(); n++ {
			raw := it.Node().Raw
			begin, end = int(raw.Offset), int(raw.Offset+raw.Length)
			path += string(it.Node().Data) + "."
			if _, known := places[path]; !known {
				places[path] = place{begin, begin}
			}
			if last := tables[path] - 1; last >= 0 && e.Kind == unstable.Table {
				path += strconv.Itoa(last) + "."
			}
		}
		switch e.Kind {
		case unstable.KeyValue:
			value := bytes.TrimLeft(text[end:], " \t=") // none begins with one of these
			places[path] = place{begin, len(text) - len(value)}
		case unstable.ArrayTable:
			table = path + strconv.Itoa(tables[path]) + "."
			tables[path]++
		default:
			table = path
		}
	}
	return places
}

// place finds a key by its path, or else what it stands in.
func (p *parse) place(path string) place {
	for {
		if at, ok := p.places[path+"."]; ok || path == "" {
			return at
		}
		path = path[:max(0, strings.LastIndexByte(path, '.'))]
	}
}

// inOrder lists the keys of a table as they stand in the file.
func (p *parse) inOrder(table map[string]any, path string) []string {
	return slices.SortedFunc(maps.Keys(table), func(a, b string) int {
		return cmp.Or(cmp.Compare(p.place(path+a).key, p.place(path+b).key), cmp.Compare(a, b))
	})
}

// at begins a line about what is at that offset.
func (p *parse) at(offset int) string {
	before := p.text[:offset]
	return fmt.Sprintf("%s:%d:%d: ", p.path, 1+bytes.Count(before, []byte("\n")),
		offset-bytes.LastIndexByte(before, '\n'))
}

func (p *parse) fault(offset int, format string, args ...any) {
	if len(p.errs) == faultsMax {
		p.more++
		return
	}
	p.errs = append(p.errs, errors.New(p.at(offset)+fmt.Sprintf(format, args...)))
}

func (p *parse) faults() error {
	if p.more > 0 {
		p.errs = append(p.errs, fmt.Errorf("%s: and %d more faults: mend these first", p.path, p.more))
	}
	return errors.Join(p.errs...)
}

func (p *parse) unknown(path, key string) {
	p.fault(p.place(path).key, "key %s is unknown: remove it or correct it (see ring node --help)", key)
}

// values are what o is set with, if it takes them.
func (p *parse) values(o option, value any) []string {
	texts := p.texts(o.key, o.key, o.tomlKind(), value)
	for _, text := range texts {
		if err := o.set(new(draft), text); err != nil {
			p.fault(p.place(o.key).value, "%s: %v", o.key, err)
			return nil
		}
	}
	return texts
}

// texts are what an option is set with, if value is of the kind it wants.
func (p *parse) texts(path, key, want string, value any) []string {
	if is := tomlKind(value); is != want {
		instead := ""
		if key == "addresses" && is == kindList {
			instead = `: write "{host1,host2}:3000", or [[instance]] tables with name and address`
		}
		p.fault(p.place(path).value, "%s: want %s, here is %s%s", key, want, is, instead)
		return nil
	}
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	texts := make([]string, len(list)) // not nil: an empty list is something said
	for i, v := range list {
		texts[i] = fmt.Sprint(v)
	}
	return texts
}

// tables are those that stand under [[key]]; none where value is something else.
func (p *parse) tables(key string, value any) []map[string]any {
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	tables := make([]map[string]any, len(list))
	for i, v := range list {
		table, isTable := v.(map[string]any)
		if !ok || !isTable {
			p.fault(p.place(key).value, "%s: want tables, here is %s: write [[%s]]", key, tomlKind(value), key)
			return nil
		}
		tables[i] = table
	}
	return tables
}

// tableKey is a key of tables that are read into a T: of what kind, and what it sets.
type tableKey[T any] struct {
	kind string
	set  func(*T, []string) error
}

// readTable sets what a table [[name]] says, which is at path. Where it is not sound more
// faults would follow from those that were told.
func readTable[T any](p *parse, into *T, name, path string, table map[string]any,
	keys map[string]tableKey[T],
) (sound bool) {
	before := p.told()
	for _, key := range p.inOrder(table, path) {
		known, ok := keys[key]
		if !ok {
			p.unknown(path+key, name+"."+key)
			continue
		}
		said := p.texts(path+key, name+"."+key, known.kind, table[key])
		if said == nil {
			continue
		}
		if err := known.set(into, said); err != nil {
			p.fault(p.place(path+key).value, "%s.%s: %v", name, key, err)
		}
	}
	return p.told() == before
}

// told is how many faults there are so far.
func (p *parse) told() int { return len(p.errs) + p.more }

// groups reads the [[instance]] tables.
func (p *parse) groups(value any) []group {
	tables := p.tables("instance", value)
	groups := make([]group, len(tables))
	for i, table := range tables {
		path := fmt.Sprintf("instance.%d.", i)
		for _, key := range p.inOrder(table, path) {
			into := map[string]*string{"name": &groups[i].Name, "address": &groups[i].Address}[key]
			if into == nil {
				p.unknown(path+key, "instance."+key)
			} else if said := p.texts(path+key, "instance."+key, kindText, table[key]); said != nil {
				*into = said[0]
			}
		}
	}
	return groups
}

// The kinds of values that settings are of, in words.
const (
	kindText   = "a string"
	kindNumber = "a whole number"
	kindBool   = "true or false"
	kindList   = "a list of strings"
)

// tomlKind is the kind of value that a file has for o.
func (o option) tomlKind() string {
	switch {
	case o.many():
		return kindList
	case o.kind == "int":
		return kindNumber
	case o.kind == "bool":
		return kindBool
	}
	return kindText
}

// tomlKind says of what kind a value is that go-toml has decoded.
func tomlKind(value any) string {
	switch v := value.(type) {
	case string:
		return kindText
	case int64:
		return kindNumber
	case bool:
		return kindBool
	case float64:
		return "a number with a point"
	case map[string]any:
		return "a table"
	case []any:
		if slices.ContainsFunc(v, func(e any) bool { _, ok := e.(string); return !ok }) {
			return "a list of other things"
		}
		return kindList
	}
	return "a date or time"
}

// tomlError says where a file is not TOML.
func tomlError(path string, err error) error {
	var at *toml.DecodeError
	if !errors.As(err, &at) {
		return fmt.Errorf("%s: %w", path, err)
	}
	line, column := at.Position()
	where := ""
	if key := strings.Join(at.Key(), "."); key != "" {
		where = key + ": "
	}
	return fmt.Errorf("%s:%d:%d: %s%s", path, line, column, where,
		strings.TrimPrefix(at.Error(), "toml: "))
}
