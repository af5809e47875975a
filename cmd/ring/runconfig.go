package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"sync"
	"time"

	"ringofservers.dev/ring"
	runner "ringofservers.dev/run"
)

// jobSetting is a [[run]] table: what the instance runs in its turn.
type jobSetting struct {
	Job     runner.Job
	Command []string
	Grace   time.Duration
}

// jobKeys are the keys of a [[run]] table: of what kind, and what they set.
var jobKeys = map[string]tableKey[jobSetting]{
	"name":              {kindText, jobText(func(j *jobSetting) *string { return &j.Job.Name })},
	"cron":              {kindText, jobText(func(j *jobSetting) *string { return &j.Job.Cron })},
	"every":             {kindText, jobTime(func(j *jobSetting) *time.Duration { return &j.Job.Every })},
	"jitter":            {kindText, jobTime(func(j *jobSetting) *time.Duration { return &j.Job.Jitter })},
	"lease":             {kindText, jobTime(func(j *jobSetting) *time.Duration { return &j.Job.Lease })},
	"grace":             {kindText, jobTime(func(j *jobSetting) *time.Duration { return &j.Grace })},
	"starting_deadline": {kindText, jobTime(func(j *jobSetting) *time.Duration { return &j.Job.StartingDeadline })},
	"overlap": {kindText, func(j *jobSetting, v []string) error {
		j.Job.Overlap = runner.Overlap(v[0])
		return nil
	}},
	"time_zone": {kindText, func(j *jobSetting, v []string) (err error) {
		j.Job.Zone, err = time.LoadLocation(v[0])
		return err
	}},
	"every_tick": {kindNumber, func(j *jobSetting, v []string) error {
		n := 0
		if err := setInt(&n, v[0]); err != nil {
			return err
		}
		if n < 1 {
			return fmt.Errorf("%d is no number of ticks: give 1 or more", n)
		}
		j.Job.EveryTick = uint64(n)
		return nil
	}},
	"command": {kindList, func(j *jobSetting, v []string) error {
		j.Command = v
		return nil
	}},
}

func jobText(field func(*jobSetting) *string) func(*jobSetting, []string) error {
	return func(j *jobSetting, v []string) error {
		*field(j) = v[0]
		return nil
	}
}

func jobTime(field func(*jobSetting) *time.Duration) func(*jobSetting, []string) error {
	return func(j *jobSetting, v []string) error {
		d, err := time.ParseDuration(v[0])
		if err != nil || d < 0 {
			return fmt.Errorf("%q is no duration: write it as 30s or 5m", v[0])
		}
		*field(j) = d
		return nil
	}
}

// jobs reads the [[run]] tables.
func (p *parse) jobs(value any) []jobSetting {
	tables := p.tables("run", value)
	jobs, names := make([]jobSetting, len(tables)), map[string]bool{}
	for i, table := range tables {
		jobs[i] = p.job(table, fmt.Sprintf("run.%d.", i), names)
	}
	return jobs
}

// job reads one of them; names are those of the tables before.
func (p *parse) job(table map[string]any, path string, names map[string]bool) jobSetting {
	j := jobSetting{Grace: graceDefault}
	if !readTable(p, &j, "run", path, table, jobKeys) {
		return j // more would follow from those
	}
	at := p.place(path + "name").key
	if err := j.Job.Check(); err != nil {
		p.fault(at, "run: %v", err)
	}
	if len(j.Command) == 0 || j.Command[0] == "" {
		p.fault(at, `run: command is missing: write command = ["./reindex", "--all"]`)
	}
	if names[j.Job.Name] {
		p.fault(at, "run: %s is there twice", j.Job.Name)
	}
	names[j.Job.Name] = true
	return j
}

// runs are the jobs of an instance at work. Its methods are called one after the other.
type runs struct {
	ring   *ring.Ring
	log    *slog.Logger
	ctx    context.Context // of all jobs: it outlives the call that makes it
	cancel context.CancelCauseFunc
	all    sync.WaitGroup
	jobs   map[string]runningJob // by name
}

// runningJob is one of them, and what ends it once what it runs has ended.
type runningJob struct {
	jobSetting
	retire func()
}

// startRuns keeps to jobs beside r until they are ended.
func startRuns(r *ring.Ring, jobs []jobSetting, log *slog.Logger) *runs {
	ctx, cancel := context.WithCancelCause(context.Background())
	s := &runs{ring: r, log: log, ctx: ctx, cancel: cancel, jobs: map[string]runningJob{}}
	s.exchange(jobs)
	return s
}

// exchange keeps to these jobs from now on. Those that are the same go on; of others
// nothing more is begun, and what runs goes on to its end.
func (s *runs) exchange(jobs []jobSetting) {
	next := map[string]runningJob{}
	for _, j := range jobs {
		if old, ok := s.jobs[j.Job.Name]; ok && reflect.DeepEqual(old.jobSetting, j) {
			next[j.Job.Name] = old
			delete(s.jobs, j.Job.Name)
		}
	}
	for _, old := range s.jobs { // order does not matter: each is on its own
		old.retire()
	}
	for _, j := range jobs {
		if _, ok := next[j.Job.Name]; !ok {
			next[j.Job.Name] = runningJob{j, s.start(j)}
		}
	}
	s.jobs = next
}

func (s *runs) start(j jobSetting) (retire func()) {
	w := work{j.Command, cmp.Or(j.Job.Lease, runner.DefaultLease), j.Grace, os.Stdout, os.Stderr}
	retired := make(chan struct{})
	one := &runner.Runner{
		Fleet: runner.Over(s.ring), Job: j.Job, Exec: w.exec, Logger: s.log, Retire: retired,
	}
	s.all.Go(func() { s.keep(one) })
	return func() { close(retired) }
}

// rerunAfter is how long after a runner has failed it is tried again.
const rerunAfter = 2 * time.Second

// keep has a runner go on. It fails where the fleet's record is of another kind, or of a later
// version, which `ring run forget` and an update mend: that is said once, and tried again.
func (s *runs) keep(one *runner.Runner) {
	for said := ""; ; {
		err := one.Run(s.ctx)
		if err == nil {
			return
		}
		if text := err.Error(); text != said {
			said = text
			s.log.Error("not run for now", "run", one.Job.Name, "err", err)
		}
		select {
		case <-s.ctx.Done():
			return
		case <-one.Retire:
			return
		case <-time.After(rerunAfter):
		}
	}
}

// retire has nothing more begun; what runs goes on.
func (s *runs) retire() { s.exchange(nil) }

// errLeaving is why what runs is ended then, as the fleet's record of it has it.
var errLeaving = errors.New("the instance beside it leaves the ring")

// end ends what runs, and returns when it has, each within its grace.
func (s *runs) end() {
	s.cancel(errLeaving)
	s.all.Wait()
}
