# The leader dies while it holds the particle: the stop before it sends its copy again before
# anybody is elected, and no number is lost.
ring 5 0
form
run 150ms
crash 0
run 3s
	     0.5 ms  s3 s2 s4 s1: accused s0 by s3 incarnation 1 proven
	     0.6 ms  s4 s1 s3 s2: accused s0 by s4 incarnation 1 proven
	     0.7 ms  s1 s4 s2 s3: accused s0 by s1 incarnation 1 proven
	     0.9 ms  s2 s3 s1 s4: accused s0 by s2 incarnation 1 proven
	    13.5 ms  s2 s3 s1 s4: died s0 by s1 s2 s3 s4 incarnation 1 proven
	    13.5 ms  s2 s3 s1 s4: view_changed (4 of 5 alive)
	    13.8 ms  s4: next_changed s1
	    13.8 ms  s4: resent s1 epoch 1.1 (the stop before it is gone)
	    16.5 ms  s4 s2 s1 s3: view_numbered s0 by s1 s2 s3 s4 incarnation 1 proven revision 6
	3 laps
