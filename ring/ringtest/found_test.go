package ringtest

import (
	"strings"
	"testing"
)

// use is who asks the fleet for things.
type use int

const (
	bySeed use = iota
	unused
	used // by clients, and contenders for leases
)

// TestFound plays what once broke an invariant, in the shortest form found. The
// names say what went wrong.
func TestFound(t *testing.T) {
	for i, row := range []struct {
		name     string
		nodes    int
		seed     uint64
		schedule string
		use      use
	}{
		{
			"P1 damped by minorities, epochs for a minute", 3, 5,
			"9.693s deaf 0 for 15.206s; 9.982s deaf 1 for 1.732s; 13.966s mute 1 for 8.023s", unused,
		},
		{ // of a checker: they may begin anew
			"P3 cut off with less than a quorum, and all lose their logs", 12, 4000000008539,
			"9.373s leave 10 for 1.46125s; 15.533s partition 0,2,4,6,8,9,10 for 8.117s; " +
				"18.853s restart for 896ms", bySeed,
		},
		{
			"H5 back from damping by way of a ring of one", 5, 11,
			"9.839s deaf 2 for 11.017s; 10.756s blackhole 0 for 14.715s; " +
				"25.618s suspend 1 0 for 4.504s; 29.982s mute 4 for 13.568s", unused,
		},
		{
			"H2 back with a stale view that buries the living", 7, 3,
			"14.186s power 6 for 7.524s; 40.005s pause 3 for 2.270125s; 40.424s mute 2 for 19.683s; " +
				"49.993s mute 0 for 10.649s; 54.947s power 6 for 1.9935s", unused,
		},
		{
			"fatal against its own dead predecessor", 11, 1,
			"13.099s deaf 4 for 21.495s; 16.746s blank 4 for 1.246875s", unused,
		},
		{
			"R2 an accusation outlives the watch", 11, 51,
			"56.55s part 0 1 for 3.31s; 58.402s part 2 0 for 7.709s", unused,
		},
		{
			"R2 a majority falls apart by an old accusation", 5, 0,
			"5.06s partition 1,2 for 802ms; 40.205s partition 0,2,3 for 7.525s", unused,
		},
		{"H5 cut for a moment less than detection", 5, 8, "7.05s partition 0 for 1.278s", unused},
		{
			"R2 a minority's view sticks", 5, 43,
			"41.874s partition 0 for 1.394s; 49.941s partition 3 for 1.8915s", unused,
		},
		{
			"R2 two that accuse each other for ever", 2, 0,
			"5.06s restart for 1.1115s; 25.459s suspend 0 1 for 1.24475s", unused,
		},
		{"R2 accused for crossing its own join", 7, 35, "43.526s restart for 1.288s", unused},
		{
			"H2 a return that was held down, counted against a slow processor", 11,
			1795402933651734927,
			"10.974s starve 10 1.352s for 23.954s; 1m4.48s slow 10 139ms for 30.218s", unused,
		},
		{
			"H2 back from an absence, buries a friend for a minority's word", 3, 80303,
			"9.326s mute 0 for 15.415s; 21.953s starve 2 1.221s for 1.909s", unused,
		},
		{
			"H2 the same in another way", 3, 275,
			"10.098s starve 1 425ms for 5.667s; 10.411s mute 0 for 10.986s; " +
				"12.843s mute 1 for 10.94s; 24.369s mute 1 for 17.972s; 28.108s starve 0 1.213s for 20.2s", unused,
		},
		{
			"H2 back from an absence, gives up its place for a minority's word", 3, 1000065,
			"6.015s slow 1 117ms for 16.5775s; 14.343s blackhole 2 for 7.117s", unused,
		},
		{
			"H2 the same, by a hiccup", 16, 1000267,
			"15.127s blackhole 12 for 1.604s; 15.545s hiccup 15 for 450ms", unused,
		},
		{
			"H5 cut off by the word of one who was away", 11, 3000539,
			"38.355s pause 2 for 15.639s; 39.721s power 1 for 2.255s", unused,
		},
		{
			"R2 a goodbye outranks the one who came back without a disk", 3, 6000895,
			"28.637s leave 1 for 9.748s; 37.19s torn 1 1 for 5.1355s; " +
				"40.244s mute 0 for 2.344375s; 41.141s blank 2 for 1.57025s", unused,
		},
		{
			"R1 greeted by one who is gone, read late", 3, 6000489,
			"47.53s pause 1 for 17.961s; 1m1.97s blackhole 2 for 5.26s; 1m3.423s odd 2 for 2.66s", unused,
		},
		{
			"H2 just back, judges by what was said before", 11, 5000277,
			"14.103s partition 0,2,4,5,6,8,9,10 for 8.566s; 19.603s mute 3 for 19.544s", unused,
		},
		{
			"H5 back without having noticed, and not heard for a beat", 4, 7000407,
			"13.427s crash 3; 48.76s suspend 2 1 for 7.65s", unused,
		},
		{
			"H5 two meet, and the one that was dialed waits for a beat", 2, 500291,
			"10.652s partition 1 for 4.6s", unused,
		},
		{
			"S1 a write answered as that of an earlier process", 5, 25,
			"22.887s blank 4 for 5.0435s; 26.658s restart for 1.5825s", used,
		},
		{
			"P1 a leader waits as long as it had dropped in vain before", 4, 40000004515,
			"59.081s mute 2 for 13.532s; 59.802s blank 2 for 4.032s; 1m5.318s suspend 3 1 for 11.267s",
			used,
		},
		{
			"P1 a detached one goes round and round under a leader", 3, 50000107,
			"9.287s flap 2 for 36s; 23.734s blank 1 for 8.661s; 29.587s leave 0 for 4.26s; " +
				"51.559s pause 2 for 20.211s", used,
		},
		{
			"P1 no tick counts below those of a lost history", 4, 50000089,
			"35.125s power 1 for 7.458s; 55.082s leave 2 for 11.867s; 57.435s torn 3 0 for 2.927s; " +
				"1m2.39s restart for 1.712s", used,
		},
		{
			"H2 a verdict from before a damping, told on the return", 4, 20000001731,
			"14.512s flap 3 for 36s; 21.741s delay 48ms for 1.893s; 21.753s odd 3 for 5.69s; " +
				"25.965s lossy 2 0.05 for 7.685s; 35.563s partition 0,1,2 for 11.473s; " +
				"35.905s mute 0 for 4.8405s; 37.981s crash 1; 53.908s blackhole 0 for 18.843s", unused,
		},
		{
			"R2 who dropped a detached one destroys it under a leader", 4, 88000002403,
			"16.027s odd 0 for 3.579s; 23.792s third 1 for 7.901s; 29.951s suspend 1 1 for 5.001s; " +
				"33.493s suspend 1 0 for 6.54s; 34.45s starve 2 485ms for 23.417s; " +
				"34.65s partition 0 for 2.444s; 35.896s blank 3; 49.276s crash 0 for 3.851s; " +
				"55.478s starve 0 773ms for 13.724s", bySeed,
		},
		{
			"R2 back, and not told that its name is free again", 7, 99000001926,
			"5.06s suspend 2 0 for 8.719s; 28.568521355s power 3 for 290ms", bySeed,
		},
		{
			"H2 back from an absence, goes over to the one who is cut off", 14, 200000002861,
			"11.6s restart for 2.751s; 32.329s flap 2 for 18s; 35.826s part 8 7 for 2.738s; " +
				"45.863s deaf 6 for 1.544s; 47.452s hiccup 5 for 449ms", bySeed,
		},
		{
			"S1 who has left its log to others knows nothing, and that is no beginning", 11, 1,
			"10s leave 0 for 40s; 10s leave 1 for 40s; 10s leave 3 for 40s; 10s leave 4 for 40s; " +
				"75s power 2; 75s power 5; 75s power 6; 75s power 7; 75s power 8; 75s power 9; " +
				"75s power 10; 76s crash 0 for 1s; 76s crash 1 for 1s; 76s crash 3 for 1s; " +
				"76s crash 4 for 1s", bySeed,
		},
		{
			"P1 a voter has seen higher ticks of a history that was lost", 2, 300000007889,
			"38.94s third 1 for 9.126s; 41.398s part 1 0 for 18.227s; 45.451s blank 0 for 1.832s; " +
				"1m3.483s suspend 1 1 for 1.9055s", bySeed,
		},
		{
			"P3 a history whose voters died before they had it", 6, 99000006197,
			"1.334s power 3 for 1.083s", bySeed,
		},
		{
			"P3 all restarted before most had more of a history than its name", 10, 400000000985,
			"149ms loss 0.01 for 1.0313125s; 1.125s restart for 1.984s", bySeed,
		},
		{"S1 the leader of before is told under the term of a vote", 14, 500000002605, "", bySeed},
		{
			"H2 a lost packet, while two witnesses have a bad link", 4, 700000002835,
			"21.305s pause 0 for 1.84375s; 22.735s cut 2 3 for 13.823s; 22.993s leave 0 for 6.844s; " +
				"36.552s loss 0.09 for 16.007s; 41.21s cut 2 3 for 16.165s", bySeed,
		},
		{
			"H5 an island between two rounds of links is told what is old", 12, 700000004555,
			"10.401s partition 0,1,5,10 for 4.134s", bySeed,
		},
		{
			"P3 one has a history's name, one has lost its disk, and one has all of it", 3, 7,
			"0.303s power 2 for 40s; 20s crash 0 for 60s; 25s blank 1 for 18s", bySeed,
		},
		{
			"fatal against a neighbour that hardly runs", 2, 99000003393,
			"6.331s flap 0 for 36s; 22.374s flap 0 for 36s; 37.883s power 1 for 11.225s; " +
				"46.565s slow 0 236ms for 6.02825s", bySeed,
		},
		{
			"B1 two lost disks, and both lives above the same one", 2, 9000000005313,
			"7.111s restart for 1.707s; 23.838s blank 0 for 996ms; 24.307s deaf 0 for 1.0648125s; " +
				"50.649s starve 0 1.425s for 12.836s; 60.927s blank 0 for 497ms", bySeed,
		},
		{
			"B1 to be asked again and over in one step: an outcome twice", 4, 9000000003971,
			"16.751s odd 2 for 1.998s; 17.856s torn 3 0 for 3.202s; 32.59s pause 1 for 7.882s; " +
				"35.221s starve 3 302ms for 7.3985s; 36.575s partition 0,1,2 for 7.421s", bySeed,
		},
		{
			"B1 asked again after it had learnt of a later life of its name", 2, 9000000002817,
			"37.315s blank 1 for 7.001s; 42.908s flap 1 for 4.5s", bySeed,
		},
		{ // of a checker: of three observers two are the mark
			"H4 one of three observers is cut off, and another loses packets", 4, 6001091, "", bySeed,
		},
	} {
		if i%seedShare != 0 {
			continue
		}
		t.Run(row.name, func(t *testing.T) {
			lines := strings.ReplaceAll(row.schedule, "; ", "\n")
			script, err := ParseSchedule([]byte(lines))
			if err != nil {
				t.Fatal(err)
			}
			check(t, Options{
				Seed: row.seed, Nodes: row.nodes, Schedule: script,
				idle: row.use == unused, busy: row.use == used,
			})
		})
	}
}
