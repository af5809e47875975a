# Two of seven are cut off together; each side is a ring, one knows it has no quorum.
ring 7 0
form
partition 2,3 for 10s
run 10s
	   417.2 ms  s3: suspected s5 250ms
	   417.4 ms  s3: suspected s6 251ms
	   417.5 ms  s3 s2: suspected s4 251ms
	   417.5 ms  s3: resent s4 epoch 1.1 (it is silent)
	   417.5 ms  s3: detour_on s4 by s0
	   421.1 ms  s5: suspected s3 1.05s
	   421.4 ms  s6 s4: suspected s3 1.051s
	   526.3 ms  s0: suspected s3 250ms
	   526.6 ms  s0 s1: suspected s2 251ms
	   532.0 ms  s3: suspected s0 1.05s
	   532.5 ms  s2: suspected s0 1.051s
	   699.6 ms  s1: resent s2 epoch 1.1 (it is silent)
	   699.6 ms  s1: detour_on s2 by s0
	   699.8 ms  s1: suspected s3 251ms
	   708.6 ms  s2: suspected s5 251ms
	   717.2 ms  s3 s2: accused s5 by s3 incarnation 1
	   717.4 ms  s3 s2: accused s6 by s3 incarnation 1
	   717.5 ms  s3 s2: accused s4 by s3 incarnation 1
	   718.9 ms  s6: suspected s2 250ms
	   721.1 ms  s5 s6 s4 s0 s1: accused s3 by s5 incarnation 1
	   721.4 ms  s6 s5 s0 s1 s4: accused s3 by s6 incarnation 1
	   721.5 ms  s4 s5 s1 s0 s6: accused s3 by s4 incarnation 1
	   726.1 ms  s2 s3: suspected s1 1.051s
	   735.9 ms  s5 s4: suspected s2 1.051s
	   742.7 ms  s2: suspected s6 1.051s
	   826.3 ms  s0 s6 s5 s4 s1: accused s3 by s0 incarnation 1
	   826.6 ms  s0 s6 s4 s5 s1: accused s2 by s0 incarnation 1
	   832.0 ms  s3 s2: accused s0 by s3 incarnation 1
	   832.5 ms  s2 s3: accused s0 by s2 incarnation 1
	   840.1 ms  s0 s6 s5 s4 s1: died s3 by s0 s4 s5 s6 incarnation 1
	   840.1 ms  s0 s6 s5 s4 s1 s2 s3: view_changed (6 of 7 alive)
	   842.8 ms  s1 s4 s6 s0 s5: view_numbered s3 by s0 s4 s5 s6 incarnation 1 revision 6
	   846.0 ms  s2 s3: died s0 by s2 s3 incarnation 1
	   890.1 ms  s3: detour_on s4 by s2
	   999.6 ms  s1 s4 s6 s0 s5: accused s2 by s1 incarnation 1
	  1008.6 ms  s2 s3: accused s5 by s2 incarnation 1
	  1008.8 ms  s2 s3: accused s4 by s2 incarnation 1
	  1018.9 ms  s6 s5 s0 s1 s4: accused s2 by s6 incarnation 1
	  1022.3 ms  s2 s3: died s4 by s2 s3 incarnation 1
	  1022.3 ms  s2 s3: died s5 by s2 s3 incarnation 1
	  1022.3 ms  s2 s3: view_changed (4 of 7 alive)
	  1022.5 ms  s3: detour_off s4
	  1022.5 ms  s3: next_changed s6
	  1022.5 ms  s3: resent s6 epoch 1.1 (the stop before it is gone)
	  1022.5 ms  s3: detour_on s6 by s2
	  1026.1 ms  s2 s3: accused s1 by s2 incarnation 1
	  1026.5 ms  s3 s2: accused s1 by s3 incarnation 1
	  1035.9 ms  s5 s6 s4 s0 s1: accused s2 by s5 incarnation 1
	  1036.1 ms  s4 s5 s1 s0 s6: accused s2 by s4 incarnation 1
	  1040.0 ms  s3 s2: unreachable s1 by s2 s3 incarnation 1
	  1040.0 ms  s3 s2: view_changed (3 of 7 alive)
	  1040.0 ms  s3: cut_off s3 (3 of 7 in reach)
	  1040.0 ms  s3: unanchored s3 tick 6 (most of those who vote are out of reach)
	  1042.0 ms  s2: cut_off s2 (3 of 7 in reach)
	  1042.0 ms  s2: unanchored s2 tick 6 (most of those who vote are out of reach)
	  1042.7 ms  s2 s3: accused s6 by s2 incarnation 1
	  1049.6 ms  s4 s5 s1 s0 s6: died s2 by s0 s1 s4 s5 s6 incarnation 1
	  1049.6 ms  s4 s5 s1 s0 s6: view_changed (5 of 7 alive)
	  1049.8 ms  s1: detour_off s2
	  1049.8 ms  s1: next_changed s4
	  1049.8 ms  s1: resent s4 epoch 1.1 (the stop before it is gone)
	  1052.0 ms  s4 s6 s0 s5 s1: view_numbered s2 by s0 s1 s4 s5 s6 incarnation 1 revision 7
	  1056.2 ms  s2 s3: unreachable s6 by s2 s3 incarnation 1
	  1056.2 ms  s2 s3: view_changed (2 of 7 alive)
	  1056.4 ms  s3: detour_off s6
	  1056.4 ms  s3: next_changed s2
	  1056.4 ms  s3: resent s2 epoch 1.1 (the stop before it is gone)
	9 laps
# Healed.
run 4s
	    19.9 ms  s2: accused s3 by s0 incarnation 1
	    19.9 ms  s2: accused s3 by s4 incarnation 1
	    19.9 ms  s2: accused s3 by s5 incarnation 1
	    19.9 ms  s2: accused s3 by s6 incarnation 1
	    19.9 ms  s2 s3: returned s0 incarnation 1
	    19.9 ms  s2 s3: returned s1 incarnation 1
	    19.9 ms  s2: died s3 incarnation 1
	    19.9 ms  s2 s3: returned s4 incarnation 1
	    19.9 ms  s2 s3: returned s5 incarnation 1
	    19.9 ms  s2 s3: returned s6 incarnation 1
	    19.9 ms  s2: joined s2 incarnation 2
	    19.9 ms  s2 s3: next_changed s4
	    19.9 ms  s2: resent s4 epoch 1.1 (the stop before it is gone)
	    19.9 ms  s2: detour_on s4 by s5
	    19.9 ms  s2 s5 s6 s4 s0 s1: view_changed (6 of 7 alive)
	    19.9 ms  s2: whole s2 (6 of 7 in reach)
	    20.1 ms  s3: accused s2 by s0 incarnation 1
	    20.1 ms  s3: accused s2 by s1 incarnation 1
	    20.1 ms  s3: accused s2 by s4 incarnation 1
	    20.1 ms  s3: accused s2 by s5 incarnation 1
	    20.1 ms  s3: accused s2 by s6 incarnation 1
	    22.1 ms  s3: cleared s0 by s2
	    22.1 ms  s3: cleared s5 by s2
	    22.1 ms  s3: cleared s4 by s2
	    22.1 ms  s3: cleared s1 by s2
	    22.1 ms  s3: cleared s6 by s2
	    22.1 ms  s3 s5 s6 s4 s0 s1: returned s2 incarnation 2
	    22.1 ms  s3: view_changed (2 of 7 alive)
	    22.5 ms  s1: next_changed s2
	    24.5 ms  s1: detour_on s2 by s0
	    25.2 ms  s4 s6 s0 s5 s1 s3 s2: view_numbered s2 incarnation 2 revision 9
	    30.5 ms  s3: joined s3 incarnation 2
	    30.5 ms  s3 s2 s5 s6 s4 s0 s1: view_changed (7 of 7 alive)
	    30.5 ms  s3: whole s3 (7 of 7 in reach)
	    30.5 ms  s3: detour_on s4 by s2
	    30.7 ms  s2: cleared s5 by s3
	    30.7 ms  s2: cleared s6 by s3
	    30.7 ms  s2: cleared s4 by s3
	    30.7 ms  s2: cleared s0 by s3
	    30.7 ms  s2: cleared s1 by s3
	    30.7 ms  s2 s5 s6 s4 s0 s1: returned s3 incarnation 2
	    30.7 ms  s2 s3: detour_off s4
	    30.7 ms  s2: next_changed s3
	   125.1 ms  s1 s4 s0 s6 s5 s3 s2: view_numbered s3 incarnation 2 revision 10
	   230.3 ms  s3 s2: elected s1
	   232.9 ms  s3 s2: view_numbered s3 by s0 s4 s5 s6 incarnation 1 revision 6
	   232.9 ms  s3 s2: view_numbered s2 by s0 s1 s4 s5 s6 incarnation 1 revision 7
	  2106.5 ms  s2: ticks_skipped s2 epoch 1.1 tick 16 skipped 8
	  2106.5 ms  s2: anchored s2 tick 16
	  2249.6 ms  s3: ticks_skipped s3 epoch 1.1 tick 16 skipped 8
	  2249.6 ms  s3: anchored s3 tick 16
	  3107.7 ms  s1: detour_off s2
	2 laps
