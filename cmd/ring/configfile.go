package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// fileMax bounds a settings file in bytes; the largest roster, one table for
// each instance, is a quarter of it.
const fileMax = 8 << 20

// fileSettings is what stands in a ring.toml. Nil is absent.
type fileSettings struct {
	Ring      *string  `toml:"ring"`
	Name      *string  `toml:"name"`
	Roster    []string `toml:"roster"`
	Addresses *string  `toml:"addresses"`
	Degree    *int     `toml:"degree"`
	Listen    *string  `toml:"listen"`
	Data      *string  `toml:"data"`
	Preset    *string  `toml:"preset"`
	Hold      *string  `toml:"hold"`
	MaxSpeed  *bool    `toml:"max_speed"`
	Insecure  *bool    `toml:"insecure"`
	CPUs      *int     `toml:"cpus"`
	LogLevel  *string  `toml:"log_level"`
	LogFormat *string  `toml:"log_format"`
	Instances []group  `toml:"instance"`
}

// fileLayer reads a settings file. Errors have exit code 2 and say where, as
// file:line:column.
func fileLayer(path string) (layer, error) {
	text, err := readSettingsFile(path)
	if err != nil {
		return layer{}, usageError("read settings: %w", err)
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

func parseFile(path string, text []byte) (layer, error) {
	var s fileSettings
	decoder := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields()
	if err := decoder.Decode(&s); err != nil {
		return layer{}, &exitError{exitUsage, tomlError(path, err)}
	}
	return layer{
		origin: func(key string) string {
			if line := lineOf(text, key); line > 0 {
				return fmt.Sprintf("%s:%d: %s", path, line, key)
			}
			return path + ": " + key
		},
		values: s.values(),
		groups: s.Instances,
	}, nil
}

// values are the settings that stand in the file, as text.
func (s *fileSettings) values() map[string][]string {
	values := make(map[string][]string)
	for key, v := range map[string]*string{
		"ring": s.Ring, "name": s.Name, "addresses": s.Addresses, "listen": s.Listen,
		"data": s.Data, "preset": s.Preset, "hold": s.Hold, "log_level": s.LogLevel,
		"log_format": s.LogFormat,
	} {
		if v != nil {
			values[key] = []string{*v}
		}
	}
	for key, v := range map[string]*int{"degree": s.Degree, "cpus": s.CPUs} {
		if v != nil {
			values[key] = []string{strconv.Itoa(*v)}
		}
	}
	for key, v := range map[string]*bool{"max_speed": s.MaxSpeed, "insecure": s.Insecure} {
		if v != nil {
			values[key] = []string{strconv.FormatBool(*v)}
		}
	}
	if s.Roster != nil {
		values["roster"] = s.Roster
	}
	return values
}

// tomlError says where each fault of a file is.
func tomlError(path string, err error) error {
	var missing *toml.StrictMissingError
	if errors.As(err, &missing) {
		var errs []error
		for i := range missing.Errors {
			e := &missing.Errors[i]
			line, column := e.Position()
			errs = append(errs, fmt.Errorf("%s:%d:%d: key %s is unknown: remove it or correct it "+
				"(see ring node --help)", path, line, column, strings.Join(e.Key(), ".")))
		}
		return errors.Join(errs...)
	}
	var at *toml.DecodeError
	if errors.As(err, &at) {
		line, column := at.Position()
		where := ""
		if key := strings.Join(at.Key(), "."); key != "" {
			where = key + ": "
		}
		return fmt.Errorf("%s:%d:%d: %s%s", path, line, column, where,
			strings.TrimPrefix(at.Error(), "toml: "))
	}
	return fmt.Errorf("%s: %w", path, err)
}

// lineOf finds the line, from 1, of a key that stands before the first table;
// 0 where it is written in an unusual way.
func lineOf(text []byte, key string) int {
	n := 0
	for line := range bytes.Lines(text) {
		n++
		line = bytes.TrimSpace(line)
		if bytes.HasPrefix(line, []byte("[")) {
			return 0
		}
		if rest, ok := bytes.CutPrefix(line, []byte(key)); ok &&
			bytes.HasPrefix(bytes.TrimSpace(rest), []byte("=")) {
			return n
		}
	}
	return 0
}
