# The leader dies with a drop of its own in its log. When it is started again it reads
# that drop, and lets nothing go: only who leads, in the term in which it asked.
ring 5 0
form
crash 0 for 3s
run 2s
	     0.5 ms  s3 s2 s4 s1: accused s0 by s3 incarnation 1 proven
	     0.6 ms  s4 s1 s3 s2: accused s0 by s4 incarnation 1 proven
	     0.7 ms  s1 s4 s2 s3: accused s0 by s1 incarnation 1 proven
	     0.9 ms  s2 s3 s1 s4: accused s0 by s2 incarnation 1 proven
	    13.5 ms  s2 s3 s1 s4: died s0 by s1 s2 s3 s4 incarnation 1 proven
	    13.5 ms  s2 s3 s1 s4: view_changed (4 of 5 alive)
	    13.8 ms  s4: next_changed s1
	    13.8 ms  s4: resent s1 epoch 1.1 (the stop before it is gone)
	    16.5 ms  s4 s2 s1 s3: view_numbered s0 by s1 s2 s3 s4 incarnation 1 proven revision 6
	2 laps
run 4s
	  1001.0 ms  s0: returned s1 incarnation 1
	  1001.0 ms  s0: returned s2 incarnation 1
	  1001.0 ms  s0: returned s3 incarnation 1
	  1001.0 ms  s0: returned s4 incarnation 1
	  1029.9 ms  s0: elected s1
	  1151.8 ms  s0: joined s0 incarnation 2
	  1151.8 ms  s0 s3 s4 s1 s2: view_changed (5 of 5 alive)
	  1152.0 ms  s3 s4 s1 s2: returned s0 incarnation 2
	  1152.1 ms  s4: next_changed s0
	  1154.3 ms  s1 s4 s2 s3 s0: view_numbered s0 incarnation 2 revision 8
	  1644.5 ms  s0: ticks_skipped s0 epoch 1.1 tick 11 skipped 1
	  1644.5 ms  s0: anchored s0 tick 11
	4 laps
