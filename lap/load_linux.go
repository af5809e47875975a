package lap

import (
	"bytes"
	"math"
	"os"
	"strconv"
)

// hostLoad is the load average of the last minute, which in a container is its host's.
func hostLoad() *float64 {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return nil
	}
	first, _, _ := bytes.Cut(text, []byte(" "))
	load, err := strconv.ParseFloat(string(first), 64)
	if err != nil || math.IsNaN(load) || math.IsInf(load, 0) {
		return nil
	}
	return &load
}

// resident is this process's memory in bytes.
func resident() *int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return nil
	}
	fields := bytes.Fields(text)
	if len(fields) < 2 {
		return nil
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		return nil
	}
	size := pages * int64(os.Getpagesize())
	return &size
}
