# Two of seven are cut off together; each side is a ring, one knows it has no quorum.
ring 7 0
form
partition 2,3 for 10s
run 10s
	   444.9 ms  s0: suspected s3 250ms
	   445.2 ms  s0 s1: suspected s2 251ms
	   488.7 ms  s3: suspected s0 1.05s
	   489.1 ms  s2: suspected s0 1.051s
	   602.6 ms  s1: resent s2 epoch 1.0 (it is silent)
	   602.6 ms  s1: detour_on s2 by s0
	   602.7 ms  s1: suspected s3 251ms
	   638.6 ms  s2 s3: suspected s1 1.051s
	   684.4 ms  s6: suspected s2 250ms
	   713.8 ms  s2: suspected s5 251ms
	   714.0 ms  s2 s3: suspected s4 251ms
	   715.4 ms  s5 s4: suspected s2 1.051s
	   725.4 ms  s2: suspected s6 1.051s
	   736.3 ms  s3: suspected s5 250ms
	   736.5 ms  s3: suspected s6 250ms
	   736.6 ms  s3: resent s4 epoch 1.0 (it is silent)
	   736.6 ms  s3: detour_on s4 by s2
	   744.9 ms  s0 s6 s5 s4 s1: accused s3 by s0 incarnation 1
	   745.2 ms  s0 s6 s5 s4 s1: accused s2 by s0 incarnation 1
	   765.4 ms  s5: suspected s3 1.05s
	   765.6 ms  s6 s4: suspected s3 1.051s
	   788.7 ms  s3 s2: accused s0 by s3 incarnation 1
	   789.1 ms  s2 s3: accused s0 by s2 incarnation 1
	   902.6 ms  s1 s4 s6 s0 s5: accused s2 by s1 incarnation 1
	   902.7 ms  s1 s4 s6 s0 s5: accused s3 by s1 incarnation 1
	   938.6 ms  s2 s3: accused s1 by s2 incarnation 1
	   939.1 ms  s3 s2: accused s1 by s3 incarnation 1
	   984.4 ms  s6 s5 s0 s1 s4: accused s2 by s6 incarnation 1
	  1013.8 ms  s2 s3: accused s5 by s2 incarnation 1
	  1014.0 ms  s2 s3: accused s4 by s2 incarnation 1
	  1015.4 ms  s5 s6 s4 s0 s1: accused s2 by s5 incarnation 1
	  1015.6 ms  s4 s5 s1 s0 s6: accused s2 by s4 incarnation 1
	  1025.4 ms  s2 s3: accused s6 by s2 incarnation 1
	  1036.3 ms  s3 s2: accused s5 by s3 incarnation 1
	  1036.5 ms  s3 s2: accused s6 by s3 incarnation 1
	  1036.6 ms  s3 s2: accused s4 by s3 incarnation 1
	  1050.1 ms  s3 s2: unreachable s0 by s2 s3 incarnation 1
	  1050.1 ms  s3 s2: unreachable s1 by s2 s3 incarnation 1
	  1050.1 ms  s3 s2: unreachable s4 by s2 s3 incarnation 1
	  1050.1 ms  s3 s2: unreachable s5 by s2 s3 incarnation 1
	  1050.1 ms  s3 s2: unreachable s6 by s2 s3 incarnation 1
	  1050.1 ms  s3: detour_off s4
	  1050.1 ms  s3: next_changed s2
	  1050.1 ms  s3: resent s2 epoch 1.0 (the stop before it is gone)
	  1050.1 ms  s3 s2: view_changed (2 of 7 alive)
	  1050.1 ms  s3: cut_off s3 (2 of 7 in reach)
	  1050.1 ms  s3: unanchored s3 tick 6 (most of those who vote are out of reach)
	  1052.1 ms  s2: cut_off s2 (2 of 7 in reach)
	  1052.1 ms  s2: unanchored s2 tick 7 (most of those who vote are out of reach)
	  1065.4 ms  s5 s6 s4 s0 s1: accused s3 by s5 incarnation 1
	  1065.6 ms  s6 s5 s0 s1 s4: accused s3 by s6 incarnation 1
	  1065.8 ms  s4 s5 s1 s0 s6: accused s3 by s4 incarnation 1
	  1093.8 ms  s1 s5 s0 s4 s6: died s2 by s0 s1 s4 s5 s6 incarnation 1
	  1093.8 ms  s1 s5 s0 s4 s6: died s3 by s0 s1 s4 s5 s6 incarnation 1
	  1093.8 ms  s1: detour_off s2
	  1093.8 ms  s1: next_changed s4
	  1093.8 ms  s1: resent s4 epoch 1.0 (the stop before it is gone)
	  1093.8 ms  s1 s5 s0 s4 s6: view_changed (5 of 7 alive)
	  1096.7 ms  s0 s6 s5 s4 s1: view_numbered s2 by s0 s1 s4 s5 s6 incarnation 1 revision 6
	  1096.7 ms  s0 s6 s5 s4 s1: view_numbered s3 by s0 s1 s4 s5 s6 incarnation 1 revision 6
	10 laps
# Healed.
run 4s
	    57.0 ms  s6 s5 s1 s4: accused s0 by s2 incarnation 1
	    57.0 ms  s6 s5 s0 s4: accused s1 by s2 incarnation 1
	    57.0 ms  s6 s0 s1 s4: accused s5 by s2 incarnation 1
	    57.0 ms  s6 s5 s0 s1: accused s4 by s2 incarnation 1
	    57.0 ms  s6 s5 s1 s4: accused s0 by s3 incarnation 1
	    57.0 ms  s6 s5 s0 s4: accused s1 by s3 incarnation 1
	    57.0 ms  s6 s0 s1 s4: accused s5 by s3 incarnation 1
	    57.0 ms  s6 s5 s0 s1: accused s4 by s3 incarnation 1
	    57.2 ms  s5 s0 s1 s4: accused s6 by s2 incarnation 1
	    57.2 ms  s5 s0 s1 s4: accused s6 by s3 incarnation 1
	    57.3 ms  s3: accused s2 by s0 incarnation 1
	    57.3 ms  s3: accused s2 by s1 incarnation 1
	    57.3 ms  s3: accused s2 by s4 incarnation 1
	    57.3 ms  s3: accused s2 by s5 incarnation 1
	    57.3 ms  s3: accused s2 by s6 incarnation 1
	    57.5 ms  s2: accused s3 by s0 incarnation 1
	    57.5 ms  s2: accused s3 by s1 incarnation 1
	    57.5 ms  s2: accused s3 by s4 incarnation 1
	    57.5 ms  s2: accused s3 by s5 incarnation 1
	    57.5 ms  s2: accused s3 by s6 incarnation 1
	    67.7 ms  s3 s2: returned s0 incarnation 1
	    67.7 ms  s3 s2: returned s1 incarnation 1
	    67.7 ms  s3: died s2 incarnation 1
	    67.7 ms  s3 s2: returned s4 incarnation 1
	    67.7 ms  s3 s2: returned s5 incarnation 1
	    67.7 ms  s3 s2: returned s6 incarnation 1
	    67.7 ms  s3: joined s3 incarnation 2
	    67.7 ms  s3: next_changed s4
	    67.7 ms  s3: resent s4 epoch 1.0 (the stop before it is gone)
	    67.7 ms  s3: detour_on s4 by s6
	    67.7 ms  s3 s6 s5 s0 s1 s4: view_changed (6 of 7 alive)
	    67.7 ms  s3: whole s3 (6 of 7 in reach)
	    67.9 ms  s2 s6 s5 s0 s1 s4: cleared s0 by s3
	    67.9 ms  s2 s6 s5 s0 s1 s4: cleared s1 by s3
	    67.9 ms  s2 s6 s5 s0 s1 s4: cleared s5 by s3
	    67.9 ms  s2 s6 s5 s0 s1 s4: cleared s6 by s3
	    67.9 ms  s2 s6 s5 s0 s1 s4: cleared s4 by s3
	    67.9 ms  s2 s6 s5 s0 s1 s4: returned s3 incarnation 2
	    67.9 ms  s2: view_changed (2 of 7 alive)
	    68.1 ms  s1: next_changed s3
	    68.5 ms  s1: detour_on s3 by s0
	    69.8 ms  s0 s6 s5 s4 s1 s3 s2: view_numbered s3 incarnation 2 revision 8
	    90.7 ms  s2: joined s2 incarnation 2
	    90.7 ms  s2 s3 s4 s6 s5 s1 s0: view_changed (7 of 7 alive)
	    90.7 ms  s2: whole s2 (7 of 7 in reach)
	    90.9 ms  s3 s4 s6 s5 s1 s0: cleared s0 by s2
	    90.9 ms  s3 s4 s6 s5 s1 s0: cleared s1 by s2
	    90.9 ms  s3 s4 s6 s5 s1 s0: cleared s5 by s2
	    90.9 ms  s3 s4 s6 s5 s1 s0: cleared s4 by s2
	    90.9 ms  s3 s4 s6 s5 s1 s0: cleared s6 by s2
	    90.9 ms  s3 s4 s6 s5 s1 s0: returned s2 incarnation 2
	    91.2 ms  s1: detour_off s3
	    91.2 ms  s1: next_changed s2
	   171.1 ms  s0 s6 s5 s4 s1 s3 s2: view_numbered s2 incarnation 2 revision 9
	   233.8 ms  s3: detour_off s4
	   234.1 ms  s4: unanchored s4 tick 15 (too few of those who vote have stamped the last lap)
	   234.1 ms  s3 s2: elected s0
	   235.6 ms  s3 s2: view_numbered s2 by s0 s1 s4 s5 s6 incarnation 1 revision 6
	   235.6 ms  s3 s2: view_numbered s3 by s0 s1 s4 s5 s6 incarnation 1 revision 6
	   377.1 ms  s5: unanchored s5 tick 15 (too few of those who vote have stamped the last lap)
	   520.0 ms  s6: unanchored s6 tick 15 (too few of those who vote have stamped the last lap)
	   949.3 ms  s2: ticks_skipped s2 epoch 1.0 tick 17 skipped 9
	  1034.4 ms  s2: anchored s2 tick 17
	  1092.3 ms  s3: ticks_skipped s3 epoch 1.0 tick 17 skipped 9
	  1092.3 ms  s3: anchored s3 tick 17
	  1235.4 ms  s4: ticks_skipped s4 epoch 1.0 tick 17 skipped 1
	  1235.4 ms  s4: anchored s4 tick 17
	  1378.4 ms  s5: ticks_skipped s5 epoch 1.0 tick 17 skipped 1
	  1378.4 ms  s5: anchored s5 tick 17
	  1521.4 ms  s6: ticks_skipped s6 epoch 1.0 tick 17 skipped 1
	  1521.4 ms  s6: anchored s6 tick 17
	4 laps
