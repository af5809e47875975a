# The one who holds the particle is killed, and its copy is sent again.
ring 5 0
form
crash holder
run 3s
	     0.5 ms  s4 s0 s3 s2: accused s1 by s4 incarnation 1 proven
	     0.7 ms  s2 s3 s0 s4: accused s1 by s2 incarnation 1 proven
	     0.7 ms  s0 s3 s4 s2: accused s1 by s0 incarnation 1 proven
	     0.9 ms  s3 s0 s2 s4: accused s1 by s3 incarnation 1 proven
	    15.4 ms  s3 s0 s2 s4: died s1 by s0 s2 s3 s4 incarnation 1 proven
	    15.4 ms  s3 s0 s2 s4: view_changed (4 of 5 alive)
	    15.4 ms  s3: unanchored s3 tick 6 (nobody leads those who vote)
	    15.4 ms  s0: next_changed s2
	    15.4 ms  s0: resent s2 epoch 1.1 (the stop before it is gone)
	    15.4 ms  s0: unanchored s0 tick 7 (nobody leads those who vote)
	    15.5 ms  s2: unanchored s2 tick 6 (nobody leads those who vote)
	    15.5 ms  s4: unanchored s4 tick 6 (nobody leads those who vote)
	    22.9 ms  s0 s3 s4 s2: elected s0
	    22.9 ms  s0: anchored s0 tick 7
	    23.0 ms  s3: anchored s3 tick 6
	    23.1 ms  s4: anchored s4 tick 6
	    23.2 ms  s2: anchored s2 tick 7
	    27.7 ms  s0 s3 s4 s2: view_numbered s1 by s0 s2 s3 s4 incarnation 1 proven revision 7
	2 laps
