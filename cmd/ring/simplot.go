package main

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"

	"ringofservers.dev/ring/ringtest"
)

// troubleLook is how a trouble is drawn: in colours that any page, light or dark, lets
// see (Okabe and Ito).
type troubleLook struct {
	trouble      ringtest.Trouble
	colour, text string
}

var troubleLooks = []troubleLook{
	{ringtest.Calm, "#0072B2", "nothing wrong"},
	{ringtest.Lost, "#E69F00", "5 % of frames vanish"},
	{ringtest.Dead, "#009E73", "a tenth dark, unnoticed"},
	{ringtest.DeadLost, "#D55E00", "both of these"},
	{ringtest.Centre, "#CC79A7", "a data centre dark, unnoticed"},
	{ringtest.Late, "#56B4E9", "5 % of packets late"},
	{ringtest.Churn, "#B8A900", "some come and go"},
	{ringtest.CentreGone, "#888888", "a data centre gone, known"},
}

// Measures of the picture.
const (
	plotWidth, plotHeight = 480.0, 300.0 // of one panel, axes and title included
	plotLeft, plotRight   = 64.0, 16.0
	plotTop, plotBottom   = 36.0, 40.0
	plotHopsMax           = 60.0 // the axis ends there; what takes longer is drawn at its end
)

// spreadPlot draws what came of simulated broadcasts.
type spreadPlot struct {
	out    *bufio.Writer
	fleets []spreadFleet
}

// writeSpreadSVG draws, side by side for each size of message, how long it takes to the
// last instance against how many there are, if there are several fleets; and below, of
// the largest, the share that has yet to get it against time.
func writeSpreadSVG(w io.Writer, fleets []spreadFleet) error {
	p := &spreadPlot{bufio.NewWriter(w), slices.Clone(fleets)}
	slices.SortStableFunc(p.fleets, func(a, b spreadFleet) int { return a.Nodes - b.Nodes })
	largest := p.fleets[len(p.fleets)-1]
	var kinds []ringtest.SpreadRow // one of each size
	for _, r := range largest.Rows {
		if !slices.ContainsFunc(kinds, func(k ringtest.SpreadRow) bool { return k.Size == r.Size }) {
			kinds = append(kinds, r)
		}
	}
	bands := 1
	if len(p.fleets) > 1 {
		bands = 2
	}
	width := max(plotWidth*float64(len(kinds)), 2*plotWidth)
	foot := 24 * math.Ceil(float64(len(troubleLooks)+1)/math.Floor(width/240))
	fmt.Fprintf(p.out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g"
 font-family="system-ui,sans-serif">
<title>Broadcasts, simulated</title>
<style>
 svg { background: #fff; color: #222 }
 @media (prefers-color-scheme: dark) { svg { background: #16181d; color: #ddd } }
 text { fill: currentColor; font-size: 13px }
 .head { font-weight: 600 }
 .grid { stroke: currentColor; stroke-opacity: .15 }
 .best { stroke: currentColor; stroke-dasharray: 2 4 }
 polyline { fill: none; stroke-width: 2; stroke-linejoin: round }
 .worst { stroke-opacity: .45 }
</style>
`, width, plotHeight*float64(bands)+foot+16)
	for k, kind := range kinds {
		x := float64(k) * plotWidth
		if bands > 1 {
			p.times(x, 0, kind)
		}
		p.reached(x, plotHeight*float64(bands-1), largest, kind)
	}
	p.legend(plotHeight*float64(bands)+12, width)
	fmt.Fprintln(p.out, "</svg>")
	return p.out.Flush()
}

// axes are the two scales of one panel.
type axes struct {
	x, y     float64 // of its upper left corner
	toX, toY func(v float64) float64
}

func (p *spreadPlot) panel(x, y float64, head, below string, toX, toY func(v float64) float64) *axes {
	a := &axes{x: x + plotLeft, y: y + plotTop}
	wide, high := plotWidth-plotLeft-plotRight, plotHeight-plotTop-plotBottom
	a.toX = func(v float64) float64 { return a.x + wide*toX(v) }
	a.toY = func(v float64) float64 { return a.y + high*(1-toY(v)) }
	p.text(a.x, y+20, "start", "head", head)
	p.text(a.x+wide/2, a.y+high+34, "middle", "", below)
	return a
}

func (p *spreadPlot) text(x, y float64, anchor, class, text string) {
	if class != "" {
		class = fmt.Sprintf(" class=%q", class)
	}
	fmt.Fprintf(p.out, `<text%s x="%.1f" y="%.1f" text-anchor=%q>%s</text>`+"\n", class, x, y, anchor, text)
}

// tickX and tickY are a line across a panel and what it stands for.
func (p *spreadPlot) tickX(a *axes, v float64, text string) {
	bottom := a.y + plotHeight - plotTop - plotBottom
	fmt.Fprintf(p.out, `<path class="grid" d="M%.1f %.1fV%.1f"/>`+"\n", a.toX(v), a.y, bottom)
	p.text(a.toX(v), bottom+17, "middle", "", text)
}

func (p *spreadPlot) tickY(a *axes, v float64, text string) {
	fmt.Fprintf(p.out, `<path class="grid" d="M%.1f %.1fH%.1f"/>`+"\n", a.x, a.toY(v),
		a.x+plotWidth-plotLeft-plotRight)
	p.text(a.x-7, a.toY(v)+4, "end", "", text)
}

func (p *spreadPlot) line(class, colour string, points [][2]float64) {
	if class == "" {
		class = "of"
	}
	fmt.Fprintf(p.out, `<polyline class=%q stroke=%q points="`, class, colour)
	for _, at := range points {
		fmt.Fprintf(p.out, "%.1f,%.1f ", at[0], at[1])
	}
	fmt.Fprintln(p.out, `"/>`)
}

// times is the panel of hops to the last instance against instances.
func (p *spreadPlot) times(x, y float64, kind ringtest.SpreadRow) {
	most := 4.0
	for _, f := range p.fleets {
		for _, r := range f.Rows {
			if r.Size == kind.Size {
				most = max(most, min(r.Median, plotHopsMax))
			}
		}
	}
	step := plotStep(most*1.1, 4)
	most = 4 * step
	low, high := float64(max(p.fleets[0].Nodes, 1)), float64(p.fleets[len(p.fleets)-1].Nodes)
	log := func(v float64) float64 { return 0.06 + 0.88*math.Log(v/low)/math.Log(max(high/low, 1.01)) }
	a := p.panel(x, y, sizeText(kind)+": hops to the last, median, worst", "instances",
		log, func(v float64) float64 { return min(v, most) / most })
	for k := range 5 {
		v := step * float64(k)
		p.tickY(a, v, strconv.FormatFloat(v, 'f', -1, 64))
	}
	var best [][2]float64
	for _, f := range p.fleets {
		p.tickX(a, float64(f.Nodes), strconv.Itoa(f.Nodes))
		for _, r := range f.Rows {
			if r.Size == kind.Size && r.Trouble == ringtest.Calm {
				best = append(best, [2]float64{a.toX(float64(f.Nodes)), a.toY(r.Best)})
			}
		}
	}
	for k, look := range troubleLooks {
		var points [][2]float64
		aside := 3.5 * (float64(k) - float64(len(troubleLooks)-1)/2) // lines lie upon each other
		for _, f := range p.fleets {
			for _, r := range f.Rows {
				if r.Size != kind.Size || r.Trouble != look.trouble {
					continue
				}
				at := [2]float64{a.toX(float64(f.Nodes)) + aside, a.toY(r.Median)}
				fmt.Fprintf(p.out, `<path class="worst" stroke=%q stroke-width="2" d="M%.1f %.1fV%.1f"/>`+"\n",
					look.colour, at[0], at[1], a.toY(r.Worst))
				fmt.Fprintf(p.out, `<circle cx="%.1f" cy="%.1f" r="3" fill=%q><title>%d instances, %s: `+
					"%g hops, at most %g</title></circle>\n", at[0], at[1], look.colour, f.Nodes, look.text,
					r.Median, r.Worst)
				if r.Median > most {
					p.text(at[0]-8, at[1]+4, "end", "", strconv.Itoa(int(r.Median+0.5)))
				}
				points = append(points, at)
			}
		}
		p.line("", look.colour, points)
	}
	p.line("best", "currentColor", best)
}

// plotStep is a round number of which so many reach most.
func plotStep(most float64, count int) float64 {
	steps := []float64{1, 2, 5, 10, 15}
	for _, step := range steps {
		if step*float64(count) >= most {
			return step
		}
	}
	return steps[len(steps)-1]
}

func sizeText(r ringtest.SpreadRow) string {
	if r.Kind == ringtest.Flood {
		return fmt.Sprintf("%d bytes, flooded", r.Size)
	}
	return fmt.Sprintf("%d bytes, by tree", r.Size)
}

// reached is the panel of who has yet to get it, in one fleet.
func (p *spreadPlot) reached(x, y float64, f spreadFleet, kind ringtest.SpreadRow) {
	const least = 1e-5 // the axis ends there: nobody lacks it any more
	hopsMax := 10.0
	for _, r := range f.Rows {
		for h, share := range r.Reached {
			if r.Size == kind.Size && share < 1-least {
				hopsMax = max(hopsMax, float64(h+2))
			}
		}
	}
	step := plotStep(hopsMax, 6)
	hopsMax = min(step*math.Ceil(hopsMax/step), plotHopsMax)
	toY := func(v float64) float64 {
		if v > 0 {
			v = max(v, 1.3*least) // one that lacks it is not nobody
		}
		return 1 - math.Log10(max(v, least))/math.Log10(least)
	}
	a := p.panel(x, y, fmt.Sprintf("%s, %d instances: who lacks it yet", sizeText(kind), f.Nodes),
		"hops after it was sent", func(v float64) float64 { return v / hopsMax }, toY)
	for k, text := range []string{"100 %", "10 %", "1 %", "0.1 %", "0.01 %"} {
		p.tickY(a, math.Pow10(-k), text)
	}
	p.tickY(a, 0, "none")
	for v := 0.0; v <= hopsMax; v += step {
		p.tickX(a, v, strconv.FormatFloat(v, 'f', -1, 64))
	}
	for _, look := range troubleLooks {
		for _, r := range f.Rows {
			if r.Size != kind.Size || r.Trouble != look.trouble {
				continue
			}
			var points [][2]float64
			for h, share := range r.Reached {
				if float64(h) <= hopsMax {
					points = append(points, [2]float64{a.toX(float64(h)), a.toY(1 - share)})
				}
			}
			p.line("", look.colour, points)
		}
	}
}

// legend says which line is what.
func (p *spreadPlot) legend(y, width float64) {
	columns := int(width / 240)
	for k := range len(troubleLooks) + 1 {
		x := plotLeft + float64(k%columns)*(width-plotLeft)/float64(columns)
		at := y + 24*float64(k/columns)
		if k == len(troubleLooks) {
			fmt.Fprintf(p.out, `<path class="best" stroke-width="2" d="M%.1f %.1fh18"/>`+"\n", x, at)
			p.text(x+24, at+4, "start", "", "the shortest ways there are")
			continue
		}
		look := troubleLooks[k]
		fmt.Fprintf(p.out, `<path d="M%.1f %.1fh18" stroke=%q stroke-width="3"/>`+"\n", x, at, look.colour)
		p.text(x+24, at+4, "start", "", look.text)
	}
}
