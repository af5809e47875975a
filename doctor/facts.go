package doctor

import (
	"fmt"
	"time"

	"ringofservers.dev/ring"
)

// Where things begin to be wrong.
const (
	bytesFail    = 64 << 20 // free on the disk
	bytesEasy    = 4 << 30  // free on the disk: then no share is too small
	shareWarn    = 0.05     // free of the disk
	inodesFail   = 64
	syncWarn     = 50 * time.Millisecond
	filesWarn    = 256 // that could be opened yet, besides what links take
	filesFail    = 32
	throttleWarn = 0.05 // of the periods in which the process wanted to run
	memoryWarn   = 0.90 // of the limit
	memoryFail   = 0.98
	lateWarn     = 250 // milliseconds by which the process runs late
	steppedWarn  = time.Second
	asleepWarn   = time.Second
	passWarn     = 30 * time.Second
)

// facts are what an instance has found out about itself. What could not be measured, here or
// on this system, is nil or zero.
type facts struct {
	self     ring.Name
	data     string // the directory; empty: there is none
	now      time.Time
	status   ring.Status
	bus      ring.BusStatus
	links    []ring.Link
	refusals []refusal     // of late, the newest of each instance
	strange  bool          // of late somebody was refused who has shown no name of the ring
	starved  int           // how often of late the process did not run
	address  *reached      // the way to itself; nil: there is no address
	last     time.Duration // between the two newest passes
	disk     *diskFacts
	files    *fileFacts
	cpu      *cpuFacts
	memory   *memoryFacts
	clock    clockFacts
	identity *identityFacts // nil: there is no TLS
}

// refusal is an event in which this instance would not be linked with another, or that not
// with this one.
type refusal struct {
	who  ring.Name
	text string
}

type diskFacts struct {
	err         error // it could not be looked at, or written
	stuck       bool  // it has not answered in time
	free, size  uint64
	inodes      uint64 // free
	hasInodes   bool   // the file system counts them
	sync        time.Duration
	mode        uint32 // permission bits; 0: unknown
	writeFailed bool
}

type fileFacts struct {
	limit uint64
	open  int
}

type cpuFacts struct {
	procs     int     // that Go uses
	quota     float64 // processors' worth of time; 0: no limit
	periods   uint64
	throttled uint64
}

type memoryFacts struct {
	limit, used uint64 // of the cgroup
}

type clockFacts struct {
	stepped time.Duration // by how much the wall clock was set since the start
	asleep  time.Duration // for how long the host was suspended since then
}

// finder collects what is wrong with one instance.
type finder struct {
	self  ring.Name
	found []Problem
}

func (f *finder) say(v Verdict, check, kind, do, what string, args ...any) {
	f.found = append(f.found, Problem{
		Check: check, Case: kind, Verdict: v, Do: clipped(do, doMax), Count: 1,
		Who: []Who{{f.self, clipped(fmt.Sprintf(what, args...), textMax)}},
	})
}

// judge is what the facts come to: nothing where all is well.
func judge(k facts) []Problem {
	f := &finder{self: k.self}
	f.quorum(k)
	f.ticks(k)
	f.roster(k)
	f.address(k.address)
	f.links(k)
	f.security(k)
	f.identity(k.now, k.identity)
	f.clock(k.clock)
	f.disk(k.data, k.disk)
	f.files(k)
	f.cpu(k)
	f.memory(k.memory)
	return f.found
}

func (f *finder) quorum(k facts) {
	if k.status.CutOff {
		f.say(Fail, Quorum, "cut off", "look at its network and at the paths below: it comes back by itself "+
			"once it reaches the others", "it sees no quorum, or a quorum has cut it")
	} else if !k.bus.Quorum {
		f.say(Fail, Quorum, "no quorum", "start the voters that are missing (`ring bus status`); if most are "+
			"lost for good, `ring bus recover`", "most of the voters are out of its reach")
	}
	for _, v := range k.bus.Voters {
		if v.State != ring.Alive && v.State != ring.Suspect && v.Name == k.self {
			f.say(Warn, Quorum, "votes from outside", "wait until it is in the ring again", "it votes and is %s", v.State)
		}
	}
	for _, i := range k.status.Instances {
		if i.Name == k.self && i.DampedUntil != nil && i.DampedUntil.After(k.now) {
			f.say(Warn, Quorum, "damped", "find out why it comes and goes (`ring events`): it may return then",
				"it has died and come back so often that its return waits for %v",
				i.DampedUntil.Sub(k.now).Round(time.Second))
		}
	}
}

func (f *finder) ticks(k facts) {
	if !k.status.Anchored {
		why := k.status.Unanchored
		if why == "" {
			why = "no reason is known"
		}
		f.say(Fail, Ticks, "not anchored", "look at quorum above; after a start it takes a moment",
			"laps do not count: %s", why)
	}
	switch at := k.status.LastPass; {
	case at == nil:
		f.say(Fail, Ticks, "no particle", "look at quorum and links; after a start it takes a moment",
			"the particle has not been here yet")
	case k.now.Sub(*at) > max(passWarn, 3*k.last):
		f.say(Fail, Ticks, "no particle", "look at quorum and links, and for a stop with a long --hold",
			"the particle was here %v ago", k.now.Sub(*at).Round(time.Second))
	}
}

func (f *finder) roster(k facts) {
	for _, r := range k.refusals {
		f.say(Fail, Roster, "refused", "do what is said there; `ring roster diff` compares two files",
			"%s: %s", r.who, r.text)
	}
}

func (f *finder) address(r *reached) {
	if r == nil {
		return
	}
	do := "correct its address in the roster, or what it listens at (--listen); it must be one at which " +
		"it and all others reach it"
	switch r.kind {
	case "", slowPath:
	case strangerPath:
		f.say(Fail, Address, "leads elsewhere", do, "%s leads to %s", r.addr, r.what)
	case untrustedPath:
		f.say(Fail, Address, "untrusted", do, "%s: %s", r.addr, r.what)
	case unresolvedPath:
		f.say(Fail, Address, "unresolved", "mend the name in DNS or in /etc/hosts of this host", "%s: %s", r.addr, r.what)
	default:
		f.say(Fail, Address, "does not lead here", do, "%s: %s", r.addr, r.what)
	}
}

func (f *finder) links(k facts) {
	alive := map[ring.Name]bool{}
	for _, i := range k.status.Instances {
		alive[i.Name] = i.State == ring.Alive
	}
	bad := map[ring.Name]bool{}
	for _, b := range k.status.BadLinks {
		if b.From == k.self {
			bad[b.To] = true
			f.say(Fail, Links, "bad", "open the way between them (firewall, routes, addresses): until then "+
				"what they tell each other takes a detour", "it cannot talk to %s", b.To)
		}
	}
	for _, l := range k.links {
		if l.Needed && !l.Up && alive[l.Peer] && !bad[l.Peer] {
			f.say(Warn, Links, "missing", "look at paths; just after a start or a change it takes a moment",
				"there is no link with %s, which lives", l.Peer)
		}
	}
	if k.status.Detour != "" {
		f.say(Warn, Links, "detour", "open the way between them (firewall, routes, addresses)",
			"it reaches %s by way of %s only", k.status.Next, k.status.Detour)
	}
}

func (f *finder) security(k facts) {
	if k.status.Insecure {
		f.say(Warn, Security, "insecure", "give the instances certificates, or leave --insecure out where all "+
			"addresses are on loopback", "links with other hosts are in the clear (--insecure)")
	}
}

func (f *finder) clock(c clockFacts) {
	if c.stepped.Abs() > steppedWarn {
		f.say(Warn, Clocks, "stepped", "run a daemon that slews the clock (chrony, systemd-timesyncd): schedules, "+
			"certificates and logs go by it", "its wall clock was set by %v since it has started",
			c.stepped.Round(time.Millisecond))
	}
	if c.asleep > asleepWarn {
		f.say(Warn, Clocks, "suspended", "do not let the host sleep, or the virtual machine be paused: the others "+
			"take it for dead", "its host was suspended for %v since it has started", c.asleep.Round(time.Second))
	}
}

func (f *finder) disk(data string, d *diskFacts) {
	if d == nil {
		return
	}
	switch {
	case d.stuck:
		f.say(Fail, Disk, "stuck", "look at the disk (dmesg, the network below it): nothing can be kept until it answers",
			"%s: the disk has not answered in time", data)
		return
	case d.err != nil && d.writeFailed:
		f.say(Fail, Disk, "not writable", "make room, or give the directory to the user of the instance; it ends "+
			"when it cannot keep what it must", "%v", d.err)
	case d.err != nil:
		f.say(Fail, Disk, "unreadable", "look at the directory and whose it is", "%v", d.err)
		return
	}
	share := float64(d.free) / float64(max(d.size, 1))
	switch {
	case d.free < bytesFail:
		f.say(Fail, Disk, "full", "make room; the instance ends when it cannot keep what it must",
			"%s: %d MiB free of %d MiB", data, d.free>>20, d.size>>20)
	case share < shareWarn && d.free < bytesEasy:
		f.say(Warn, Disk, "nearly full", "make room, or let less be kept of large payloads (--bulk-keep)",
			"%s: %d MiB free of %d MiB", data, d.free>>20, d.size>>20)
	}
	if d.hasInodes && d.inodes < inodesFail {
		f.say(Fail, Disk, "no inodes", "remove small files from that file system", "%s: %d inodes free", data, d.inodes)
	}
	if d.sync > syncWarn {
		f.say(Warn, Disk, "slow", "use a faster or less busy disk: what the fleet agrees on waits for most of the "+
			"voters' disks", "a small synced write takes %v", d.sync.Round(time.Millisecond))
	}
	if d.mode&0o022 != 0 {
		f.say(Fail, Disk, "open to others", "chmod 700 "+data, "%s has mode %04o: others can change what is in it",
			data, d.mode)
	} else if d.mode&0o055 != 0 {
		f.say(Warn, Disk, "readable by others", "chmod 700 "+data, "%s has mode %04o", data, d.mode)
	}
}

func (f *finder) files(k facts) {
	if k.files == nil {
		return
	}
	const do = "raise it: LimitNOFILE=65536 in the systemd unit, or ulimit -n before the start"
	left := int64(k.files.limit) - int64(k.files.open)
	switch {
	case left < filesFail:
		f.say(Fail, Files, "used up", do, "%d files of %d are open", k.files.open, k.files.limit)
	case left < filesWarn+int64(4*len(k.links)):
		f.say(Warn, Files, "few", do, "it may open %d files and has %d open: too few for clients, streams and "+
			"large payloads besides %d links", k.files.limit, k.files.open, len(k.links))
	}
}

func (f *finder) cpu(k facts) {
	if c := k.cpu; c != nil && c.quota > 0 {
		if c.quota < float64(c.procs) {
			f.say(Warn, CPU, "quota", fmt.Sprintf("give it a quota of %d, or none, or set --cpus to what it has", c.procs),
				"the quota is %.2f cores and the program uses %d: what it uses up early it waits for, and is silent",
				c.quota, c.procs)
		}
		if c.periods > 100 && float64(c.throttled) > throttleWarn*float64(c.periods) {
			f.say(Warn, CPU, "throttled", "raise the quota (CPUQuota= of systemd, limits of Kubernetes): a process "+
				"that is throttled is silent", "it was throttled in %.0f %% of the periods",
				100*float64(c.throttled)/float64(c.periods))
		}
	}
	switch {
	case k.status.LateMS > lateWarn:
		f.say(Warn, CPU, "late", "give the host more processors, or the instance a higher priority (CPUWeight=)",
			"the process runs %.0f ms late", k.status.LateMS)
	case k.starved > 0:
		f.say(Warn, CPU, "starved", "give the host more processors, or the instance a higher priority (CPUWeight=)",
			"in the last %v it did not run for a quarter of a second or longer, %d times", lately, k.starved)
	}
}

func (f *finder) memory(m *memoryFacts) {
	if m == nil || m.limit == 0 {
		return
	}
	const do = "raise the limit (MemoryMax= of systemd, limits of Kubernetes): at the limit the kernel kills"
	share := float64(m.used) / float64(m.limit)
	switch {
	case share > memoryFail:
		f.say(Fail, Memory, "used up", do, "%d of %d MiB are used", m.used>>20, m.limit>>20)
	case share > memoryWarn:
		f.say(Warn, Memory, "nearly used up", do, "%d of %d MiB are used", m.used>>20, m.limit>>20)
	}
}
