# All are killed and start again: the old epoch is on disk, the new one is greater.
ring 5 0
form
restart for 1s
run 1s
run 4s
	     0.9 ms  s4: joined s4 incarnation 2
	     0.9 ms  s4 s3 s0 s1 s2: view_changed (1 of 5 alive)
	     1.0 ms  s3: joined s3 incarnation 2
	     1.1 ms  s0: joined s0 incarnation 2
	     1.2 ms  s1: joined s1 incarnation 2
	     1.2 ms  s2: joined s2 incarnation 2
	    20.2 ms  s0 s2 s4 s1: returned s3 incarnation 2
	    20.2 ms  s0 s2: next_changed s3
	    20.2 ms  s0 s1 s4 s3 s2: view_changed (2 of 5 alive)
	    20.2 ms  s1 s0 s3 s2: returned s4 incarnation 2
	    20.2 ms  s1 s3: next_changed s4
	    20.2 ms  s4 s2 s0 s3: returned s1 incarnation 2
	    20.2 ms  s4 s0: next_changed s1
	    20.2 ms  s3 s4 s1 s2: returned s0 incarnation 2
	    20.2 ms  s3 s4: next_changed s0
	    20.2 ms  s3 s1 s4 s0: returned s2 incarnation 2
	    20.2 ms  s3 s4 s1 s0 s2: view_changed (3 of 5 alive)
	    20.2 ms  s1: next_changed s2
	    20.2 ms  s3 s4 s1 s0 s2: view_changed (4 of 5 alive)
	    20.3 ms  s1 s3 s4 s0 s2: view_changed (5 of 5 alive)
	    25.5 ms  s1 s4 s2 s0 s3: elected s1
	    28.0 ms  s1 s2 s3 s4 s0: view_numbered s3 incarnation 1 revision 5
	    30.3 ms  s1 s4 s2 s0 s3: view_numbered s0 incarnation 2 revision 7
	    30.3 ms  s1 s4 s2 s0 s3: view_numbered s1 incarnation 2 revision 7
	    30.3 ms  s1 s4 s2 s0 s3: view_numbered s2 incarnation 2 revision 7
	    30.3 ms  s1 s4 s2 s0 s3: view_numbered s3 incarnation 2 revision 7
	    30.3 ms  s1 s4 s2 s0 s3: view_numbered s4 incarnation 2 revision 7
	  1432.1 ms  s1: dropped s1 epoch 2.1
	  1432.1 ms  s1: ticks_skipped s1 epoch 2.1 tick 17 skipped 6
	  1432.1 ms  s1: anchored s1 tick 17
	  1432.4 ms  s2: ticks_skipped s2 epoch 2.1 tick 17 skipped 6
	  1432.4 ms  s2: anchored s2 tick 17
	  1432.6 ms  s3: ticks_skipped s3 epoch 2.1 tick 17 skipped 9
	  1432.6 ms  s3: anchored s3 tick 17
	  1432.8 ms  s4: ticks_skipped s4 epoch 2.1 tick 17 skipped 8
	  1432.8 ms  s4: anchored s4 tick 17
	  1433.0 ms  s0: ticks_skipped s0 epoch 2.1 tick 18 skipped 8
	  1433.0 ms  s0: anchored s0 tick 18
	4 laps
