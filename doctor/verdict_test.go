package doctor

import (
	"errors"
	"strings"
	"testing"
	"time"

	"ringofservers.dev/ring"
)

const day = 24 * time.Hour

// healthy is an instance with which nothing is wrong.
func healthy() facts {
	now := time.Unix(1e9, 0)
	pass := now.Add(-time.Second)
	return facts{
		self: "a", data: "/data", now: now, last: time.Second,
		status: ring.Status{
			Self: "a", Anchored: true, LastPass: &pass,
			Instances: []ring.Instance{{Name: "a", State: ring.Alive}, {Name: "b", State: ring.Alive}},
		},
		bus:     ring.BusStatus{Quorum: true, Voters: []ring.BusVoter{{Name: "a", Role: "voter", State: ring.Alive}}},
		links:   []ring.Link{{Peer: "b", Up: true, Needed: true}},
		address: &reached{addr: "a:1"},
		disk:    &diskFacts{free: 100 << 30, size: 200 << 30, inodes: 1e6, hasInodes: true, mode: 0o700},
		files:   &fileFacts{limit: 1 << 16, open: 40},
		cpu:     &cpuFacts{procs: 2, quota: 2, periods: 1000},
		memory:  &memoryFacts{limit: 1 << 30, used: 100 << 20},
		identity: &identityFacts{
			from: now.Add(-50 * day), to: now.Add(50 * day), renewAt: now.Add(day), roots: []string{"aa"},
		},
	}
}

func TestJudge(t *testing.T) {
	if found := judge(healthy()); len(found) > 0 {
		t.Errorf("with a healthy instance is wrong: %+v", found)
	}
	little := facts{self: "a", now: time.Unix(1e9, 0), status: healthy().status, bus: healthy().bus}
	if found := judge(little); len(found) > 0 {
		t.Errorf("where little can be measured is wrong: %+v", found)
	}
	until, past := time.Unix(1e9+30, 0), time.Unix(1e9-100, 0)
	for _, c := range []struct {
		check, kind string
		verdict     Verdict
		what        string
		change      func(*facts)
	}{
		{Quorum, "cut off", Fail, "no quorum", func(k *facts) { k.status.CutOff = true }},
		{Quorum, "no quorum", Fail, "most of the voters", func(k *facts) { k.bus.Quorum = false }},
		{Quorum, "votes from outside", Warn, "is dead", func(k *facts) { k.bus.Voters[0].State = ring.Dead }},
		{Quorum, "damped", Warn, "waits for 30s", func(k *facts) { k.status.Instances[0].DampedUntil = &until }},
		{Ticks, "not anchored", Fail, "asleep", func(k *facts) {
			k.status.Anchored, k.status.Unanchored = false, "asleep"
		}},
		{Ticks, "no particle", Fail, "1m40s ago", func(k *facts) { k.status.LastPass = &past }},
		{Ticks, "no particle", Fail, "not been here yet", func(k *facts) { k.status.LastPass = nil }},
		{Roster, "refused", Fail, "b: rosters differ", func(k *facts) {
			k.refusals = []refusal{{"b", "rosters differ"}}
		}},
		{Address, "does not lead here", Fail, "a:1: refused", func(k *facts) {
			k.address = &reached{"a:1", refusedPath, "refused"}
		}},
		{Address, "does not lead here", Fail, "silence", func(k *facts) {
			k.address = &reached{"a:1", silentPath, "silence"}
		}},
		{Address, "unresolved", Fail, "no such host", func(k *facts) {
			k.address = &reached{"a:1", unresolvedPath, "no such host"}
		}},
		{Address, "leads elsewhere", Fail, "leads to b", func(k *facts) { k.address = &reached{"a:1", strangerPath, "b"} }},
		{Links, "bad", Fail, "cannot talk to b", func(k *facts) {
			k.status.BadLinks, k.links[0].Up = []ring.BadLink{{From: "a", To: "b"}, {From: "b", To: "a"}}, false
		}},
		{Links, "missing", Warn, "no link with b", func(k *facts) { k.links[0].Up = false }},
		{Links, "detour", Warn, "b by way of", func(k *facts) { k.status.Next, k.status.Detour = "b", "c" }},
		{Security, "insecure", Warn, "in the clear", func(k *facts) { k.status.Insecure = true }},
		{Security, "refused", Fail, "it was revoked", func(k *facts) { k.identity.counts = errors.New("it was revoked") }},
		{Security, "runs out", Warn, "20 days, at 2001-", func(k *facts) { k.identity.to = k.now.Add(20*day + time.Hour) }},
		{Security, "old root", Warn, "older root", func(k *facts) { k.identity.renewAt = k.now }},
		{Security, "rotation", Warn, "aa and bb", func(k *facts) { k.identity.roots = []string{"aa", "bb"} }},
		{Address, "untrusted", Fail, "wrong name", func(k *facts) { k.address = &reached{"a:1", untrustedPath, "wrong name"} }},
		{Clocks, "stepped", Warn, "-2s", func(k *facts) { k.clock.stepped = -2 * time.Second }},
		{Clocks, "suspended", Warn, "5s", func(k *facts) { k.clock.asleep = 5 * time.Second }},
		{Disk, "full", Fail, "63 MiB free", func(k *facts) { k.disk.free = 63 << 20 }},
		{Disk, "nearly full", Warn, "3072 MiB free", func(k *facts) { k.disk.free = 3 << 30 }},
		{Disk, "no inodes", Fail, "3 inodes", func(k *facts) { k.disk.inodes = 3 }},
		{Disk, "slow", Warn, "90ms", func(k *facts) { k.disk.sync = 90 * time.Millisecond }},
		{Disk, "open to others", Fail, "0722", func(k *facts) { k.disk.mode = 0o722 }},
		{Disk, "readable by others", Warn, "0755", func(k *facts) { k.disk.mode = 0o755 }},
		{Disk, "stuck", Fail, "not answered", func(k *facts) { k.disk = &diskFacts{stuck: true} }},
		{Disk, "not writable", Fail, "read-only", func(k *facts) {
			k.disk.err, k.disk.writeFailed = errors.New("read-only"), true
		}},
		{Disk, "unreadable", Fail, "gone", func(k *facts) { k.disk = &diskFacts{err: errors.New("gone")} }},
		{Files, "used up", Fail, "40 files of 64", func(k *facts) { k.files.limit = 64 }},
		{Files, "few", Warn, "may open 256", func(k *facts) { k.files.limit = 256 }},
		{CPU, "quota", Warn, "0.50 cores", func(k *facts) { k.cpu.quota = 0.5 }},
		{CPU, "throttled", Warn, "10 %", func(k *facts) { k.cpu.throttled = 100 }},
		{CPU, "late", Warn, "900 ms", func(k *facts) { k.status.LateMS = 900 }},
		{CPU, "starved", Warn, "3 times", func(k *facts) { k.starved = 3 }},
		{Memory, "nearly used up", Warn, "972 of 1024 MiB", func(k *facts) { k.memory.used = 972 << 20 }},
		{Memory, "used up", Fail, "1020 of 1024 MiB", func(k *facts) { k.memory.used = 1020 << 20 }},
	} {
		k := healthy()
		c.change(&k)
		found := judge(k)
		if len(found) != 1 {
			t.Errorf("%s, %s: found %+v, want one", c.check, c.kind, found)
			continue
		}
		p := found[0]
		if p.Check != c.check || p.Case != c.kind || p.Verdict != c.verdict || !strings.Contains(p.Who[0].What, c.what) {
			t.Errorf("%s, %s, %s, %q: found %+v", c.check, c.kind, c.verdict, c.what, p)
		}
		if p.Do == "" || p.Who[0].Name != "a" || p.Count != 1 {
			t.Errorf("%s, %s: it does not say what to do, or who: %+v", c.check, c.kind, p)
		}
	}
}

// A quarter of the host's room is enough where that is much in itself.
func TestJudgeLargeDisk(t *testing.T) {
	k := healthy()
	k.disk.free, k.disk.size = 5<<30, 1<<40
	if found := judge(k); len(found) > 0 {
		t.Errorf("5 GiB of a terabyte are too few: %+v", found)
	}
}

func TestRecent(t *testing.T) {
	now := time.Unix(1e9, 0)
	event := func(kind string, ago time.Duration, subject ring.Name, text string) ring.Event {
		return ring.Event{Kind: kind, At: now.Add(-ago), Subject: subject, Text: text}
	}
	refused, strange, starved := recent([]ring.Event{
		event("starved", 2*lately, "a", ""),
		event("refused", 2*lately, "d", "long ago"),
		event("refused", 9*time.Second, "b", "older"),
		event("starved", 8*time.Second, "a", ""),
		event("refused", 7*time.Second, "c", "linked since"),
		event("refused", 5*time.Second, "b", "newest"),
		event("refused", 4*time.Second, "", "a stranger"),
	}, []ring.Link{{Peer: "c", Up: true}, {Peer: "b"}}, now)
	if starved != 1 || !strange || len(refused) != 1 || refused[0] != (refusal{"b", "newest"}) {
		t.Errorf("recent = %+v, %v, %d", refused, strange, starved)
	}
	if _, strange, _ = recent([]ring.Event{event("refused", 2*lately, "", "long ago")}, nil, now); strange {
		t.Error("a stranger of long ago is told")
	}
}
