package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// report is what one run found.
type report struct {
	Experiment string    `json:"experiment"`
	At         time.Time `json:"at"`
	Machine    string    `json:"machine"`
	Tables     []*table  `json:"tables"`
	Targets    []target  `json:"targets"`
	Notes      []string  `json:"notes,omitempty"`
}

// table is rows of cells under columns.
type table struct {
	Title   string     `json:"title"`
	Columns []string   `json:"columns"`
	Rows    [][]string `json:"rows"`
}

// target is a stated figure and what was measured.
type target struct {
	What string `json:"what"`
	Want string `json:"want"`
	Got  string `json:"got"`
	Met  bool   `json:"met"`
}

func (r *report) table(title string, columns ...string) *table {
	t := &table{Title: title, Columns: columns}
	r.Tables = append(r.Tables, t)
	return t
}

func (t *table) row(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		switch c := c.(type) {
		case float64:
			row[i] = fmt.Sprintf("%.2f", c)
		default:
			row[i] = fmt.Sprint(c)
		}
	}
	t.Rows = append(t.Rows, row)
}

func (r *report) target(met bool, what, want, got string) {
	r.Targets = append(r.Targets, target{what, want, got, met})
}

func (r *report) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

func (r *report) missed() bool {
	return slices.ContainsFunc(r.Targets, func(t target) bool { return !t.Met })
}

func (r *report) print(w io.Writer) {
	fmt.Fprintf(w, "%s, %s, %s\n", r.Experiment, r.At.UTC().Format("2006-01-02 15:04 UTC"), r.Machine)
	for _, t := range r.Tables {
		fmt.Fprintf(w, "\n%s\n", t.Title)
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(tw, "  "+strings.Join(t.Columns, "\t"))
		for _, row := range t.Rows {
			fmt.Fprintln(tw, "  "+strings.Join(row, "\t"))
		}
		tw.Flush()
	}
	if len(r.Targets) > 0 {
		fmt.Fprintln(w, "\ntargets")
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, t := range r.Targets {
			verdict := "met"
			if !t.Met {
				verdict = "MISSED"
			}
			fmt.Fprintf(tw, "  %s\t%s\twant %s\tgot %s\n", verdict, t.What, t.Want, t.Got)
		}
		tw.Flush()
	}
	for _, n := range r.Notes {
		fmt.Fprintln(w, "note:", n)
	}
}

// machine says in a few words what the figures were measured on.
func machine() string {
	load, _ := os.ReadFile("/proc/loadavg")
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	first, _, _ := strings.Cut(string(load), " ")
	return fmt.Sprintf("%d cores, linux %s, %s, load %s",
		runtime.NumCPU(), strings.TrimSpace(string(kernel)), runtime.Version(), first)
}
