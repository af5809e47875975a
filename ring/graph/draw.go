package graph

import (
	"bufio"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// colours are those of the rings, the roster's own first, that any page, light or
// dark, lets see (Okabe and Ito); more rings begin again.
var colours = []string{
	"#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#B8A900", "#888888",
}

// labelled is up to how many instances a picture has their names on it.
const labelled = 120

// line is a link as it is drawn.
type line struct {
	a, b int // indexes in the roster
	ring int // the first that has it
	come bool
}

// lines are the links of the living, those that came because somebody is dead marked.
func (g *Graph) lines(dead func(i int) bool) []line {
	_, healed := g.Without(dead)
	had := make(map[[2]int]bool)
	for _, l := range g.Links() {
		had[l] = true
	}
	ringOf := make(map[[2]int]int)
	for k := len(healed.rings) - 1; k >= 0; k-- {
		r := healed.rings[k]
		for at, i := range r {
			a, b := healed.index[i], healed.index[r[(at+1)%len(r)]]
			ringOf[[2]int{min(a, b), max(a, b)}] = k
		}
	}
	var lines []line
	for _, l := range healed.Links() {
		k, ok := ringOf[l]
		if !ok { // of a complete graph, which has but one ring
			k = 1
		}
		lines = append(lines, line{l[0], l[1], k, !had[l]})
	}
	return lines
}

// WriteDOT writes the links of the living for Graphviz, one colour for each ring;
// those that came because somebody is dead are dashed, the dead are on their own.
func (g *Graph) WriteDOT(w io.Writer, name string, dead func(i int) bool) error {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "graph %s {\n\tlayout=circo;\n\tnode [shape=box, style=rounded];\n",
		strconv.Quote(name))
	for i := range g.index {
		style := ""
		if dead(g.index[i]) {
			style = ` [style="rounded,dashed", color=gray, fontcolor=gray]`
		}
		fmt.Fprintf(out, "\t%s%s;\n", strconv.Quote(g.Name(i)), style)
	}
	for _, l := range g.lines(dead) {
		style := ""
		if l.come {
			style = ", style=dashed"
		}
		fmt.Fprintf(out, "\t%s -- %s [color=%q%s];\n", strconv.Quote(g.names[l.a]),
			strconv.Quote(g.names[l.b]), colours[l.ring%len(colours)], style)
	}
	fmt.Fprintln(out, "}")
	return out.Flush()
}

// WriteSVG draws the roster as a circle, ring 0 along it and the links of the other
// rings through it. Links that came because somebody is dead are dashed, the dead are
// hollow. Names stand on it up to 120 instances; above, they are seen on a dot under
// the pointer.
func (g *Graph) WriteSVG(w io.Writer, title string, dead func(i int) bool) error {
	const size, middle = 1000.0, 500.0
	n := len(g.index)
	radius := 460.0
	if n <= labelled {
		longest := 0
		for i := range n {
			longest = max(longest, len(g.Name(i)))
		}
		radius = max(200, 485-float64(min(longest, 40))*7)
	}
	place := make(map[int]int, n)
	for at, i := range g.index {
		place[i] = at
	}
	turn := func(i int) float64 { return 2*math.Pi*float64(place[i])/float64(n) - math.Pi/2 }
	at := func(i int) (x, y float64) {
		sin, cos := math.Sincos(turn(i))
		return middle + radius*cos, middle + radius*sin
	}

	lines := g.lines(dead)
	slices.SortStableFunc(lines, func(a, b line) int { return b.ring - a.ring }) // ring 0 on top
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g"
 font-family="system-ui,sans-serif">
<title>%s</title>
<style>
 svg { background: #fff; color: #222 }
 @media (prefers-color-scheme: dark) { svg { background: #16181d; color: #ddd } }
 text { fill: currentColor; font-size: 13px }
 path { fill: none; stroke-opacity: %.2f; stroke-width: %.2f }
 .ring0 { stroke-opacity: 1; stroke-width: %.2f }
 .come { stroke-dasharray: 5 4 }
 .dead { fill: none; stroke: currentColor; stroke-opacity: .5 }
</style>
`, size, size+40, plain(title), min(0.8, max(0.12, 8/math.Sqrt(float64(n)))),
		min(1.4, max(0.4, 200/float64(n))), min(3, max(0.6, 400/float64(n))))
	for _, l := range lines {
		ax, ay := at(l.a)
		bx, by := at(l.b)
		class := ""
		if l.ring == 0 {
			class = "ring0"
		}
		if l.come {
			class = strings.TrimSpace(class + " come")
		}
		// drawn in towards the middle, the more the farther apart its ends are
		pull := 0.0
		if l.ring > 0 {
			pull = 0.35
		}
		cx, cy := (ax+bx)/2+(middle-(ax+bx)/2)*pull, (ay+by)/2+(middle-(ay+by)/2)*pull
		fmt.Fprintf(out, `<path class=%q stroke=%q d="M%.1f %.1fQ%.1f %.1f %.1f %.1f"/>`+"\n", class,
			colours[l.ring%len(colours)], ax, ay, cx, cy, bx, by)
	}
	dot := min(6, max(1, 600/float64(n)))
	for _, i := range g.index {
		x, y := at(i)
		class := ""
		if dead(i) {
			class = ` class="dead"`
		}
		fmt.Fprintf(out, `<circle%s cx="%.1f" cy="%.1f" r="%.1f" fill="currentColor">`+
			"<title>%s</title></circle>\n", class, x, y, dot, plain(g.names[i]))
		if n <= labelled {
			out.WriteString(label(g.names[i], x, y, turn(i), dot+5))
		}
	}
	fmt.Fprintf(out, `<text x="%g" y="%g" text-anchor="middle">%s</text>`+"\n</svg>\n",
		middle, size+24, plain(title))
	return out.Flush()
}

// label is a name beside its dot, readable from left to right.
func label(name string, x, y, turn, gap float64) string {
	degrees, anchor := turn*180/math.Pi, "start"
	if math.Cos(turn) < -1e-9 {
		degrees, anchor, gap = degrees+180, "end", -gap
	}
	return fmt.Sprintf(`<text transform="translate(%.1f %.1f) rotate(%.1f)" x="%g" dy=".35em" `+
		"text-anchor=%q>%s</text>\n", x, y, degrees, gap, anchor, plain(name))
}

// plain is text as XML wants it.
func plain(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a Builder takes everything
	return b.String()
}
