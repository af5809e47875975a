package ring

import (
	"strings"
	"testing"
	"time"

	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/internal/node"
	"ringofservers.dev/ring/internal/wire"
)

// Every kind of report has words, none of which is the bare kind.
func TestEveryReportHasWords(t *testing.T) {
	f := newFleet(t, 4, nil)
	r := f.rings[0]
	for _, c := range []struct {
		report core.Report
		want   string
	}{
		{
			core.Report{Kind: core.Waiting, Subject: 1, Text: "nothing listens there yet"},
			"waiting for dc1/prod/1 at " + f.roster.Addresses[1] + ": nothing listens there yet",
		},
		{core.Report{Kind: core.Refusing, Subject: -1, Text: "why"}, "refused a link: why"},
		{core.Report{Kind: core.Refusing, Subject: 1, Text: "why"}, "no link with dc1/prod/1: why"},
		{core.Report{Kind: core.Joined, Incarnation: 3}, "I am in the ring, as incarnation 3"},
		{core.Report{Kind: core.LinkUp, Subject: 1}, "linked with dc1/prod/1"},
		{core.Report{Kind: core.LinkLost, Subject: 1}, "the connection with dc1/prod/1 broke"},
		{
			core.Report{Kind: core.Suspected, Subject: 1, Wait: 1500 * time.Millisecond},
			"dc1/prod/1 has not answered for 1.5s; checking over a new connection",
		},
		{
			core.Report{Kind: core.Accused, Subject: 1, By: []int{0}, Proof: true},
			"I say that dc1/prod/1 is gone: the connection broke and a re-dial was refused",
		},
		{
			core.Report{Kind: core.Accused, Subject: 1, By: []int{2}},
			"dc1/prod/2 says that dc1/prod/1 is silent, also over a new connection",
		},
		{
			core.Report{Kind: core.Cleared, Subject: 1, By: []int{2}},
			"dc1/prod/2 reaches dc1/prod/1 again",
		},
		{
			core.Report{Kind: core.Died, Subject: 1, By: []int{0, 2}, Proof: true},
			"dc1/prod/1 is dead: its connection broke and a re-dial was refused " +
				"(said by me, dc1/prod/2)",
		},
		{
			core.Report{Kind: core.Died, Subject: 1, By: []int{2, 3}},
			"dc1/prod/1 is dead: it is silent, also over a new connection " +
				"(said by dc1/prod/2, dc1/prod/3)",
		},
		{
			core.Report{Kind: core.Died, Subject: 1, By: []int{1}, Text: "a new process answers"},
			"dc1/prod/1 is dead: a new process answers",
		},
		{core.Report{Kind: core.Died, Subject: 1}, "dc1/prod/1 is dead: the others' quorum said so"},
		{core.Report{Kind: core.Returned, Subject: 1, Incarnation: 1}, "dc1/prod/1 is in the ring"},
		{
			core.Report{Kind: core.Returned, Subject: 1, Incarnation: 2},
			"dc1/prod/1 is back, as incarnation 2",
		},
		{core.Report{Kind: core.Parted, Subject: 1}, "dc1/prod/1 said goodbye and left"},
		{
			core.Report{Kind: core.ViewChanged, Subject: -1, Text: "3 of 4 alive"},
			"the ring is 3 of 4 alive",
		},
		{core.Report{Kind: core.NextChanged, Subject: 2}, "I now hold the hand of dc1/prod/2"},
		{core.Report{Kind: core.NextChanged}, "I am alone and hold my own hand"},
		{
			core.Report{Kind: core.BadLink, Subject: 1, By: []int{0}},
			"I cannot reach dc1/prod/1, though both live: the link is bad, nobody is dropped",
		},
		{
			core.Report{Kind: core.GoodLink, Subject: 1, By: []int{3}},
			"the link from dc1/prod/3 to dc1/prod/1 is good again",
		},
		{
			core.Report{Kind: core.DetourOn, Subject: 1, By: []int{3}},
			"what goes to dc1/prod/1 takes a detour by way of dc1/prod/3",
		},
		{core.Report{Kind: core.DetourOff, Subject: 1}, "what goes to dc1/prod/1 goes straight again"},
		{
			core.Report{Kind: core.Dropped, Epoch: wire.Epoch{Number: 7}, Lap: 9},
			"I have dropped a new particle: epoch 7, from lap 9",
		},
		{
			core.Report{Kind: core.Dropped, Epoch: wire.Epoch{Number: 7, Counter: 2}, Lap: 9},
			"I have dropped a new particle: epoch 7, detached 2 by dc1/prod/0, from lap 9",
		},
		{
			core.Report{Kind: core.Anchored, Tick: 5},
			"anchored at tick 5: a quorum stamps the laps, they count",
		},
		{
			core.Report{Kind: core.Unanchored, Tick: 5, Text: "why"},
			"NOT ANCHORED: laps do not count after tick 5 (why)",
		},
		{
			core.Report{Kind: core.TicksSkipped, Tick: 40, Skipped: 9},
			"the 9 numbers between tick 30 and tick 40 did not count here: they name no lap, or one that I missed",
		},
		{
			core.Report{Kind: core.TicksSkipped, Tick: 50, Skipped: 1},
			"the number 49 did not count here: it names no lap, or one that I missed",
		},
		{core.Report{Kind: core.Elected, Lap: 4}, "I lead the voters, in term 4"},
		{
			core.Report{Kind: core.Elected, Subject: 1, Lap: 4},
			"dc1/prod/1 leads the voters, in term 4",
		},
		{
			core.Report{
				Kind: core.ViewNumbered, Subject: 1, Revision: 12, Incarnation: 3,
				State: wire.Down, By: []int{0, 2}, Leader: 3,
			},
			"view revision 12: dc1/prod/1 is dead; accused by me, dc1/prod/2; " +
				"confirmed by dc1/prod/3, who leads, and a quorum",
		},
		{
			core.Report{
				Kind: core.ViewNumbered, Subject: 1, Revision: 12, Incarnation: 3,
				State: wire.Alive,
			},
			"view revision 12: dc1/prod/1 is alive again, as incarnation 3; " +
				"confirmed by me, who leads, and a quorum",
		},
		{
			core.Report{Kind: core.ViewNumbered, Subject: 1, Revision: 13, State: wire.Left, Leader: -1},
			"view revision 13: dc1/prod/1 has left",
		},
		{
			core.Report{
				Kind: core.ViewNumbered, Subject: 1, Also: []int{2, 3}, Revision: 3,
				Incarnation: 1, State: wire.Alive, Leader: -1,
			},
			"view revision 3: dc1/prod/1, dc1/prod/2, dc1/prod/3 are alive",
		},
		{core.Report{Kind: core.Voting, Text: "I vote"}, "I vote"},
		{core.Report{Kind: core.HistoryBegun, Text: "history 1f"}, "the bus begins here, as history 1f"},
		{
			core.Report{Kind: core.HistoryChanged, Text: "history 1f in place of 2e", Revision: 7},
			"I follow history 1f in place of 2e; what I had, up to revision 7, is given up",
		},
		{
			core.Report{Kind: core.HistoryConflict, Subject: 1, Text: "why"},
			"I cannot agree with dc1/prod/1 on anything: why",
		},
		{
			core.Report{Kind: core.Resent, Subject: 1, Lap: 9, Text: "why"},
			"the particle of lap 9 was sent again, to dc1/prod/1: why",
		},
		{core.Report{Kind: core.CutOff, Text: "1 of 4 in reach"}, "I am cut off: 1 of 4 in reach"},
		{core.Report{Kind: core.Whole, Text: "3 of 4"}, "I am no longer cut off: 3 of 4"},
		{
			core.Report{Kind: core.Damped, Wait: time.Minute},
			"my return has to wait for 1m0s: too many deaths in a short time",
		},
		{
			core.Report{Kind: core.Starved, Wait: 3 * time.Second},
			"this process did not run for 3s; it accuses nobody meanwhile",
		},
		{
			core.Report{Kind: core.Forging, Subject: 1, Text: "what"},
			"SECURITY: dc1/prod/1 sent what",
		},
		{
			core.Report{Kind: core.Unproven, Subject: 1, By: []int{2}},
			"dc1/prod/1 is said to be dead by one alone, who shows nobody else that says so; it does not count",
		},
	} {
		if got := r.event(1, node.Report{Report: c.report}).Text; got != c.want {
			t.Errorf("%s: %q, want %q", c.report.Kind, got, c.want)
		}
	}
}

func TestManyNamesAreCutShort(t *testing.T) {
	f := newFleet(t, 9, nil)
	by := []int{1, 2, 3, 4, 5, 6, 7}
	e := f.rings[0].event(1, node.Report{Report: core.Report{Kind: core.Died, Subject: 8, By: by}})
	if !strings.HasSuffix(e.Text, "dc1/prod/6, 1 more)") || len(e.By) != 7 {
		t.Errorf("%q by %d", e.Text, len(e.By))
	}
}
