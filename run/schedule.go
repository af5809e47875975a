package run

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// manyMissed is up to how many missed slots are counted.
const manyMissed = 100

// everyMin is the least time between two slots; claiming one takes some tens of
// milliseconds, and the turns of a fleet up to a second.
const everyMin = time.Second

// schedule makes slots: milliseconds since 1970, or ticks.
type schedule interface {
	// newest is the latest slot in (after, now], and how many there are, a calendar's up
	// to manyMissed+1; 0 where there is none.
	newest(after, now int64) (slot int64, n int)
	// next is the first slot behind after.
	next(after int64) int64
}

// steps are the multiples of a number.
type steps int64

func (s steps) newest(after, now int64) (slot int64, n int) {
	slot = floor(now, int64(s)) * int64(s)
	if slot <= after {
		return 0, 0
	}
	return slot, int(floor(slot, int64(s)) - floor(after, int64(s)))
}

func (s steps) next(after int64) int64 { return (floor(after, int64(s)) + 1) * int64(s) }

// floor is a/b, rounded down.
func floor(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// calendar is a cron expression in a time zone.
type calendar struct {
	cron cron.Schedule
	zone *time.Location
}

func (c calendar) next(after int64) int64 {
	at := c.cron.Next(time.UnixMilli(after).In(c.zone))
	if at.IsZero() { // in five years there is none
		return 1<<63 - 1
	}
	return at.UnixMilli()
}

// newest looks back from now in steps that grow until there is one: slots may be a
// minute apart or years.
func (c calendar) newest(after, now int64) (slot int64, n int) {
	for back := time.Hour.Milliseconds(); slot == 0; back *= 4 {
		from := max(after, now-back)
		for at := c.next(from); at <= now; at = c.next(at) {
			slot = at
		}
		if from == after {
			break
		}
	}
	if slot == 0 {
		return 0, 0
	}
	for at := after; n <= manyMissed && at < slot; n++ {
		at = c.next(at)
	}
	return slot, n
}

// gapsSeen is how many gaps between slots shortest looks at.
const gapsSeen = 1000

// shortest is the least time between two slots of day, as far as it looks.
func shortest(s schedule) time.Duration {
	least, at := int64(math.MaxInt64/time.Millisecond), s.next(0)
	for range gapsSeen {
		next := s.next(at)
		if next == math.MaxInt64 {
			break
		}
		least, at = min(least, next-at), next
	}
	return time.Duration(least) * time.Millisecond
}

// parseCron takes five fields, or @hourly and the like. The time zone is a setting of its
// own, and @every would be counted from whenever a process happened to start.
func parseCron(text string, zone *time.Location) (schedule, error) {
	switch {
	case strings.Contains(text, "TZ="):
		return nil, fmt.Errorf("cron %q names a time zone: that is a setting of its own", text)
	case strings.HasPrefix(text, "@every"):
		return nil, fmt.Errorf("cron %q: use every, whose times are the same at all instances", text)
	}
	s, err := cron.ParseStandard(text)
	if err != nil {
		return nil, fmt.Errorf("cron %q: %w: write minute, hour, day, month and day of the week, "+
			"such as 30 4 * * 1-5", text, err)
	}
	if s.Next(time.Unix(0, 0).In(zone)).IsZero() {
		return nil, fmt.Errorf("cron %q: no day is such", text)
	}
	return calendar{s, zone}, nil
}

// schedule is the one of the three that is given.
func (j Job) schedule() (schedule, error) {
	switch {
	case j.Every != 0 && j.Cron == "" && j.EveryTick == 0:
		if j.Every < everyMin || j.Every%time.Millisecond != 0 {
			return nil, fmt.Errorf("every is %v: give %v or more, in whole milliseconds", j.Every, everyMin)
		}
		return steps(j.Every.Milliseconds()), nil
	case j.Cron != "" && j.Every == 0 && j.EveryTick == 0:
		return parseCron(j.Cron, j.zone())
	case j.EveryTick != 0 && j.Every == 0 && j.Cron == "":
		if j.EveryTick > 1<<62 {
			return nil, errors.New("every_tick is too large")
		}
		return steps(j.EveryTick), nil
	}
	return nil, errors.New("give one of every, cron and every_tick")
}

// times is how the schedule is shown and kept.
func (j Job) times() string {
	switch {
	case j.Every != 0:
		return "every " + j.Every.String()
	case j.EveryTick != 0:
		return "every tick " + strconv.FormatUint(j.EveryTick, 10)
	}
	return "cron " + j.Cron + " " + j.zone().String()
}

// Next is the first slot of a record's schedule behind its newest and behind now, which
// is in the unit of its slots; ok is false where this version does not know the schedule.
func (r Record) Next(now int64) (slot int64, ok bool) {
	s, err := r.schedule()
	if err != nil {
		return 0, false
	}
	return s.next(max(r.Slot, now)), true
}

// aheadMost is how far clocks of a fleet may be apart without a word.
const aheadMost = 10 * time.Second

// Ahead is whether the newest slot that was claimed lies more than one period, and what
// clocks may be apart, behind now: somebody's clock was wrong, or this one is.
func (r Record) Ahead(now int64) bool {
	s, err := r.schedule()
	return err == nil && !r.Ticks && r.Slot > s.next(now+aheadMost.Milliseconds())
}

func (r Record) schedule() (schedule, error) {
	var j Job
	words := strings.Fields(r.Schedule)
	var err error
	switch {
	case len(words) == 2 && words[0] == "every":
		j.Every, err = time.ParseDuration(words[1])
	case len(words) == 3 && words[0] == "every":
		j.EveryTick, err = strconv.ParseUint(words[2], 10, 64)
	case len(words) > 2 && words[0] == "cron":
		j.Cron = strings.Join(words[1:len(words)-1], " ")
		j.Zone, err = time.LoadLocation(words[len(words)-1])
	}
	if err != nil {
		return nil, err
	}
	return j.schedule()
}

// SlotText is a slot as a command is told it: a time of day in UTC, or a tick.
func SlotText(slot int64, ticks bool) string {
	if ticks {
		return strconv.FormatInt(slot, 10)
	}
	return time.UnixMilli(slot).UTC().Format("2006-01-02T15:04:05.999Z07:00")
}
