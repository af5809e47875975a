# Two of seven are cut off together; each side is a ring, one knows it has no quorum.
ring 7 0
form
partition 2,3 for 10s
run 10s
	   504.3 ms  s0: suspected s3 250ms
	   504.7 ms  s0 s1: suspected s2 251ms
	   537.6 ms  s1: resent s2 epoch 1.1 (it is silent)
	   537.6 ms  s1: detour_on s2 by s0
	   537.8 ms  s1: suspected s3 251ms
	   554.4 ms  s3: suspected s0 1.05s
	   554.8 ms  s2: suspected s0 1.051s
	   564.1 ms  s2 s3: suspected s1 1.051s
	   671.7 ms  s6: suspected s2 250ms
	   688.6 ms  s2: suspected s5 251ms
	   688.8 ms  s2 s3: suspected s4 251ms
	   693.0 ms  s2: suspected s6 1.051s
	   716.6 ms  s5 s4: suspected s2 1.051s
	   749.8 ms  s3: suspected s5 250ms
	   749.9 ms  s3: suspected s6 250ms
	   750.0 ms  s3: resent s4 epoch 1.1 (it is silent)
	   750.0 ms  s3: detour_on s4 by s2
	   753.8 ms  s5: suspected s3 1.05s
	   754.0 ms  s6 s4: suspected s3 1.051s
	   804.3 ms  s0 s6 s5 s4 s1: accused s3 by s0 incarnation 1
	   804.7 ms  s0 s6 s5 s4 s1: accused s2 by s0 incarnation 1
	   837.6 ms  s1 s4 s6 s0 s5: accused s2 by s1 incarnation 1
	   837.8 ms  s1 s4 s6 s0 s5: accused s3 by s1 incarnation 1
	   854.4 ms  s3 s2: accused s0 by s3 incarnation 1
	   854.8 ms  s2 s3: accused s0 by s2 incarnation 1
	   864.1 ms  s2 s3: accused s1 by s2 incarnation 1
	   864.5 ms  s3 s2: accused s1 by s3 incarnation 1
	   971.7 ms  s6 s5 s0 s1 s4: accused s2 by s6 incarnation 1
	   988.6 ms  s2 s3: accused s5 by s2 incarnation 1
	   988.8 ms  s2 s3: accused s4 by s2 incarnation 1
	   993.0 ms  s2 s3: accused s6 by s2 incarnation 1
	  1006.7 ms  s3 s2: died s0 by s2 s3 incarnation 1
	  1006.7 ms  s3 s2: died s1 by s2 s3 incarnation 1
	  1006.7 ms  s3 s2 s1 s5 s0 s4 s6: view_changed (5 of 7 alive)
	  1006.7 ms  s3: unanchored s3 tick 6 (nobody leads those who vote)
	  1006.9 ms  s2: unanchored s2 tick 6 (nobody leads those who vote)
	  1016.6 ms  s5 s6 s4 s0 s1: accused s2 by s5 incarnation 1
	  1016.8 ms  s4 s5 s1 s0 s6: accused s2 by s4 incarnation 1
	  1033.1 ms  s3: detour_off s4
	  1049.8 ms  s3 s2: accused s5 by s3 incarnation 1
	  1049.9 ms  s3 s2: accused s6 by s3 incarnation 1
	  1050.0 ms  s3 s2: accused s4 by s3 incarnation 1
	  1053.8 ms  s5 s6 s4 s0 s1: accused s3 by s5 incarnation 1
	  1054.0 ms  s6 s5 s0 s1 s4: accused s3 by s6 incarnation 1
	  1054.1 ms  s4 s5 s1 s0 s6: accused s3 by s4 incarnation 1
	  1063.5 ms  s3 s2: unreachable s4 by s2 s3 incarnation 1
	  1063.5 ms  s3 s2: unreachable s5 by s2 s3 incarnation 1
	  1063.5 ms  s3 s2: unreachable s6 by s2 s3 incarnation 1
	  1063.5 ms  s3: next_changed s2
	  1063.5 ms  s3: resent s2 epoch 1.1 (the stop before it is gone)
	  1063.5 ms  s3 s2: view_changed (2 of 7 alive)
	  1063.5 ms  s3: cut_off s3 (2 of 7 in reach)
	  1065.5 ms  s2: cut_off s2 (2 of 7 in reach)
	  1075.8 ms  s1 s5 s0 s4 s6: died s2 by s0 s1 s4 s5 s6 incarnation 1
	  1075.8 ms  s1 s5 s0 s4 s6: died s3 by s0 s1 s4 s5 s6 incarnation 1
	  1075.8 ms  s1: detour_off s2
	  1075.8 ms  s1: next_changed s4
	  1075.8 ms  s1: resent s4 epoch 1.1 (the stop before it is gone)
	  1078.2 ms  s1 s4 s6 s0 s5: view_numbered s2 by s0 s1 s4 s5 s6 incarnation 1 revision 6
	  1078.2 ms  s1 s4 s6 s0 s5: view_numbered s3 by s0 s1 s4 s5 s6 incarnation 1 revision 6
	10 laps
# Healed.
run 4s
	    24.8 ms  s6 s5 s1 s4: accused s0 by s2 incarnation 1
	    24.8 ms  s6 s5 s0 s4: accused s1 by s2 incarnation 1
	    24.8 ms  s6 s0 s1 s4: accused s5 by s2 incarnation 1
	    24.8 ms  s6 s5 s0 s1: accused s4 by s2 incarnation 1
	    24.8 ms  s6 s5 s1 s4: accused s0 by s3 incarnation 1
	    24.8 ms  s6 s5 s0 s4: accused s1 by s3 incarnation 1
	    24.8 ms  s6 s0 s1 s4: accused s5 by s3 incarnation 1
	    24.8 ms  s6 s5 s0 s1: accused s4 by s3 incarnation 1
	    25.0 ms  s5 s0 s1 s4: accused s6 by s2 incarnation 1
	    25.0 ms  s5 s0 s1 s4: accused s6 by s3 incarnation 1
	    25.1 ms  s2: accused s3 by s0 incarnation 1
	    25.1 ms  s2: accused s3 by s1 incarnation 1
	    25.1 ms  s2: accused s3 by s4 incarnation 1
	    25.1 ms  s2: accused s3 by s5 incarnation 1
	    25.1 ms  s2: accused s3 by s6 incarnation 1
	    25.3 ms  s3: accused s2 by s0 incarnation 1
	    25.3 ms  s3: accused s2 by s1 incarnation 1
	    25.3 ms  s3: accused s2 by s4 incarnation 1
	    25.3 ms  s3: accused s2 by s5 incarnation 1
	    25.3 ms  s3: accused s2 by s6 incarnation 1
	    35.5 ms  s2 s3: returned s0 incarnation 1
	    35.5 ms  s2 s3: returned s1 incarnation 1
	    35.5 ms  s2: died s3 incarnation 1
	    35.5 ms  s2 s3: returned s4 incarnation 1
	    35.5 ms  s2 s3: returned s5 incarnation 1
	    35.5 ms  s2 s3: returned s6 incarnation 1
	    35.5 ms  s2: joined s2 incarnation 2
	    35.5 ms  s2 s3: next_changed s4
	    35.5 ms  s2 s6 s5 s0 s1 s4: view_changed (6 of 7 alive)
	    35.5 ms  s2: whole s2 (6 of 7 in reach)
	    35.5 ms  s2: detour_on s4 by s6
	    35.7 ms  s3 s6 s5 s0 s1 s4: cleared s0 by s2
	    35.7 ms  s3 s6 s5 s0 s1 s4: cleared s1 by s2
	    35.7 ms  s3 s6 s5 s0 s1 s4: cleared s5 by s2
	    35.7 ms  s3 s6 s5 s0 s1 s4: cleared s4 by s2
	    35.7 ms  s3 s6 s5 s0 s1 s4: cleared s6 by s2
	    35.7 ms  s3 s6 s5 s0 s1 s4: returned s2 incarnation 2
	    35.7 ms  s3: resent s2 epoch 1.1 (the stop before it is gone)
	    35.7 ms  s3: view_changed (2 of 7 alive)
	    35.9 ms  s1: next_changed s2
	    36.0 ms  s4: unanchored s4 tick 15 (too few of those who vote have stamped the last lap)
	    38.7 ms  s1 s4 s6 s0 s5 s2 s3: view_numbered s2 incarnation 2 revision 8
	    50.5 ms  s1: detour_on s2 by s0
	    71.5 ms  s3: joined s3 incarnation 2
	    71.5 ms  s3 s5 s2 s4 s6 s0 s1: view_changed (7 of 7 alive)
	    71.5 ms  s3: whole s3 (7 of 7 in reach)
	    71.6 ms  s5 s2 s4 s6 s0 s1: cleared s0 by s3
	    71.6 ms  s5 s2 s4 s6 s0 s1: cleared s1 by s3
	    71.6 ms  s5 s2 s4 s6 s0 s1: cleared s5 by s3
	    71.6 ms  s5 s2 s4 s6 s0 s1: cleared s6 by s3
	    71.6 ms  s5 s2 s4 s6 s0 s1: cleared s4 by s3
	    71.6 ms  s5 s2 s4 s6 s0 s1: returned s3 incarnation 2
	    71.7 ms  s2: detour_off s4
	    71.7 ms  s2: next_changed s3
	   138.7 ms  s4 s6 s0 s5 s1 s2 s3: view_numbered s3 incarnation 2 revision 9
	   179.0 ms  s5: unanchored s5 tick 15 (too few of those who vote have stamped the last lap)
	   230.4 ms  s2 s3: elected s1
	   233.8 ms  s2 s3: view_numbered s2 by s0 s1 s4 s5 s6 incarnation 1 revision 6
	   233.8 ms  s2 s3: view_numbered s3 by s0 s1 s4 s5 s6 incarnation 1 revision 6
	   321.9 ms  s6: unanchored s6 tick 15 (too few of those who vote have stamped the last lap)
	   750.9 ms  s1: detour_off s2
	   751.1 ms  s2: ticks_skipped s2 epoch 1.1 tick 17 skipped 9
	   751.1 ms  s2: anchored s2 tick 17
	   894.2 ms  s3: ticks_skipped s3 epoch 1.1 tick 17 skipped 9
	  1030.2 ms  s3: anchored s3 tick 17
	  1037.3 ms  s4: ticks_skipped s4 epoch 1.1 tick 17 skipped 1
	  1037.3 ms  s4: anchored s4 tick 17
	  1180.3 ms  s5: ticks_skipped s5 epoch 1.1 tick 17 skipped 1
	  1180.3 ms  s5: anchored s5 tick 17
	  1323.3 ms  s6: ticks_skipped s6 epoch 1.1 tick 17 skipped 1
	  1323.3 ms  s6: anchored s6 tick 17
	4 laps
