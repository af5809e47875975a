# Two neighbours are killed in the same instant: one view change.
ring 7 0
form
third 3,4
run 4s
	     0.4 ms  s5 s6 s0 s2 s1: accused s4 by s5 incarnation 1 proven
	     0.5 ms  s5 s6 s0 s2 s1: accused s3 by s5 incarnation 1 proven
	     0.5 ms  s1 s6 s0 s2 s5: accused s4 by s1 incarnation 1 proven
	     0.5 ms  s0 s6 s5 s1 s2: accused s3 by s0 incarnation 1 proven
	     0.6 ms  s2 s6 s5 s1 s0: accused s3 by s2 incarnation 1 proven
	     0.6 ms  s0 s6 s5 s1 s2: accused s4 by s0 incarnation 1 proven
	     0.6 ms  s6 s5 s0 s2 s1: accused s3 by s6 incarnation 1 proven
	     0.9 ms  s6 s5 s0 s2 s1: accused s4 by s6 incarnation 1 proven
	     0.9 ms  s2 s5 s6 s1 s0: accused s4 by s2 incarnation 1 proven
	     0.9 ms  s1 s6 s2 s0 s5: accused s3 by s1 incarnation 1 proven
	    16.3 ms  s5 s2 s6 s1 s0: died s3 by s0 s1 s2 s5 s6 incarnation 1 proven
	    16.3 ms  s5 s2 s6 s1 s0: died s4 by s0 s1 s2 s5 s6 incarnation 1 proven
	    16.3 ms  s5 s2 s6 s1 s0: view_changed (5 of 7 alive)
	    16.3 ms  s2: next_changed s5
	    16.3 ms  s2: resent s5 epoch 1.0 (the stop before it is gone)
	    19.2 ms  s0 s6 s5 s1 s2: view_numbered s3 by s0 s1 s2 s5 s6 incarnation 1 proven revision 6
	    19.2 ms  s0 s6 s5 s1 s2: view_numbered s4 by s0 s1 s2 s5 s6 incarnation 1 proven revision 6
	4 laps
