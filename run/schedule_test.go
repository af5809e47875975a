package run

import (
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the tests do not depend on the machine
)

func TestLook(t *testing.T) {
	day := time.Date(2026, 3, 29, 0, 0, 0, 0, time.UTC) // in Berlin 02:00 to 03:00 does not exist
	at := func(clock string) int64 {
		d, err := time.ParseDuration(clock)
		if err != nil {
			t.Fatal(err)
		}
		return day.Add(d).UnixMilli()
	}
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	minutely := Job{Name: "x", Cron: "* * * * *"}
	for name, c := range map[string]struct {
		job       Job
		last, now string
		slot      string // "" for none
		missed    int
		next      string
	}{
		"not yet":         {Job{Every: time.Minute}, "1h", "1h59s", "", 0, "1h1m"},
		"now":             {Job{Every: time.Minute}, "1h", "1h1m", "1h1m", 0, "1h2m"},
		"the newest only": {Job{Every: time.Minute}, "1h", "1h5m30s", "1h5m", 4, "1h6m"},
		"clock went back": {Job{Every: time.Minute}, "1h", "30m", "", 0, "31m"},
		"too late": {
			Job{Every: time.Minute, StartingDeadline: 10 * time.Second}, "1h", "1h1m11s", "", 0, "1h2m",
		},
		"just in time": {
			Job{Every: time.Minute, StartingDeadline: 10 * time.Second}, "1h", "1h2m9s", "1h2m", 1, "1h3m",
		},
		"cron":                 {minutely, "1h", "1h2m5s", "1h2m", 1, "1h3m"},
		"many are not counted": {minutely, "-100h", "0h", "0h", manyMissed, "1m"},
		"long ago": {
			Job{Cron: "0 0 1 1 *"}, "-8000h", "0h", "-2088h", 0, "6672h",
		},
		"hour that is left out": {
			Job{Cron: "30 2 * * *", Zone: berlin}, "-20h", "2h", "", 0, "24h30m",
		},
		"its own zone": {Job{Cron: "0 9 * * *", Zone: berlin}, "0h", "7h", "7h", 0, "31h"},
	} {
		c.job.Name = "x"
		p, err := c.job.prepared()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		o := p.look(at(c.last), at(c.now))
		want := outlook{missed: c.missed, next: at(c.next)}
		if c.slot != "" {
			want.slot = at(c.slot)
		}
		if o != want {
			t.Errorf("%s: got %+v, want %+v", name, o, want)
		}
	}
}

// Jitter is the same at all runners, keeps slots in order, and delays none beyond it.
func TestJitter(t *testing.T) {
	p, err := Job{Name: "x", Every: time.Minute, Jitter: 50 * time.Second}.prepared()
	if err != nil {
		t.Fatal(err)
	}
	last, claims := int64(0), 0
	for now := int64(1); now < 3_600_000; now += 500 {
		o := p.look(last, now)
		if o.next <= now {
			t.Fatalf("at %d it looks again at %d", now, o.next)
		}
		if o.slot == 0 {
			continue
		}
		if late := now - o.slot; late < 0 || late > 50_500 || o.missed > 0 {
			t.Errorf("slot %d at %d, %d missed", o.slot, now, o.missed)
		}
		last = o.slot
		claims++
	}
	if claims < 58 {
		t.Errorf("%d claims in an hour", claims)
	}
}

func TestCheckSaysAll(t *testing.T) {
	for name, c := range map[string]struct {
		job  Job
		want string // "" if it is right
	}{
		"right":        {Job{Name: "a/b.c-d_1", Every: time.Second, Overlap: Replace}, ""},
		"right jitter": {Job{Name: "a", Cron: "30 4 * * 1-5", Jitter: time.Hour}, ""},
		"no time":      {Job{Name: "a"}, "one of every, cron and every_tick"},
		"two":          {Job{Name: "a", Every: time.Hour, EveryTick: 1}, "one of every, cron and every_tick"},
		"name":         {Job{Name: "a b", Every: time.Hour}, "name"},
		"zone in cron": {Job{Name: "a", Cron: "TZ=UTC * * * * *"}, "time zone"},
		"CRON_TZ":      {Job{Name: "a", Cron: "CRON_TZ=UTC * * * * *"}, "time zone"},
		"@every":       {Job{Name: "a", Cron: "@every 5m"}, "use every"},
		"seconds":      {Job{Name: "a", Cron: "* * * * * *"}, "minute, hour"},
		"no such day":  {Job{Name: "a", Cron: "0 0 31 2 *"}, "no day is such"},
		"zone alone":   {Job{Name: "a", Every: time.Hour, Zone: time.UTC}, "time_zone"},
		"jitter":       {Job{Name: "a", Every: time.Minute, Jitter: time.Minute}, "jitter"},
		"cron jitter":  {Job{Name: "a", Cron: "*/7 * * * *", Jitter: 4 * time.Minute}, "only 4m0s between two"},
		"Local":        {Job{Name: "a", Cron: "@daily", Zone: time.Local}, "another at each host"},
		"overlap":      {Job{Name: "a", Every: time.Minute, Overlap: "maybe"}, "overlap"},
		"ticks":        {Job{Name: "a", EveryTick: 3, Jitter: 1}, "not of ticks"},
	} {
		switch err := c.job.Check(); {
		case err == nil && c.want != "":
			t.Errorf("%s: nothing is said", name)
		case err != nil && (c.want == "" || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestNextOfARecord(t *testing.T) {
	for _, j := range []Job{
		{Name: "a", Every: 90 * time.Second}, {Name: "a", EveryTick: 7}, {Name: "a", Cron: "*/5 * * * 1-5"},
	} {
		p, err := j.prepared()
		if err != nil {
			t.Fatal(err)
		}
		r := Record{Schedule: j.times(), Slot: 1000}
		if got, ok := r.Next(5000); !ok || got != p.schedule.next(5000) {
			t.Errorf("%s: next is %d, %v", r.Schedule, got, ok)
		}
	}
	if _, ok := (Record{Schedule: "when it rains"}).Next(0); ok {
		t.Error("a schedule of another version is understood")
	}
}

// In autumn, where clocks go back an hour, what is in that hour is run in it twice, as two
// slots; in spring, where it is left out, it is not run and not counted.
func TestCronWhereClocksChange(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	p, err := Job{Name: "x", Cron: "30 2 * * *", Zone: berlin}.prepared()
	if err != nil {
		t.Fatal(err)
	}
	for from, want := range map[string]string{
		"2026-10-24T12:00:00Z": "2026-10-25T00:30:00Z 2026-10-25T01:30:00Z 2026-10-26T01:30:00Z",
		"2026-03-28T12:00:00Z": "2026-03-30T00:30:00Z 2026-03-31T00:30:00Z 2026-04-01T00:30:00Z",
	} {
		at, err := time.Parse(time.RFC3339, from)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		slot := at.UnixMilli()
		for range 3 {
			before := slot
			slot = p.schedule.next(slot)
			if o := p.look(before, slot); o.slot != slot || o.missed != 0 {
				t.Errorf("from %s: %+v", from, o)
			}
			got = append(got, SlotText(slot, false))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("from %s: %v, want %s", from, got, want)
		}
	}
}

func TestRecordAheadOfTheClock(t *testing.T) {
	const hour = 3_600_000
	rec := Record{Schedule: "every 1h0m0s", Slot: 10 * hour}
	for now, want := range map[int64]bool{8*hour + 1800_000: true, 9*hour - 5000: false, 9 * hour: false, 11 * hour: false} {
		if got := rec.Ahead(now); got != want {
			t.Errorf("at %d: %v", now, got)
		}
	}
	if (Record{Schedule: "every tick 3", Ticks: true, Slot: 1 << 40}).Ahead(7) {
		t.Error("ticks have no clock")
	}
}
