# The one who holds the particle is killed, and its copy is sent again.
ring 5 0
form
crash holder
run 3s
	     0.5 ms  s1 s2 s0 s3: accused s4 by s1 incarnation 1 proven
	     0.6 ms  s0 s3 s1 s2: accused s4 by s0 incarnation 1 proven
	     0.8 ms  s3 s0 s2 s1: accused s4 by s3 incarnation 1 proven
	     0.9 ms  s2 s3 s1 s0: accused s4 by s2 incarnation 1 proven
	    13.4 ms  s2 s3 s1 s0: died s4 by s0 s1 s2 s3 incarnation 1 proven
	    13.4 ms  s2 s3 s1 s0: view_changed (4 of 5 alive)
	    13.6 ms  s3: next_changed s0
	    13.6 ms  s3: resent s0 epoch 1.0 (the stop before it is gone)
	    16.5 ms  s0 s3 s1 s2: view_numbered s4 by s0 s1 s2 s3 incarnation 1 proven revision 5
	3 laps
