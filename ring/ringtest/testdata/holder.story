# The one who holds the particle is killed, and its copy is sent again.
ring 5 0
form
crash holder
run 3s
	     0.6 ms  s3 s0 s4 s1: accused s2 by s3 incarnation 1 proven
	     0.7 ms  s1 s4 s0 s3: accused s2 by s1 incarnation 1 proven
	     0.8 ms  s4 s1 s0 s3: accused s2 by s4 incarnation 1 proven
	     0.9 ms  s0 s3 s4 s1: accused s2 by s0 incarnation 1 proven
	    13.6 ms  s0 s3 s4 s1: died s2 by s0 s1 s3 s4 incarnation 1 proven
	    13.6 ms  s0 s3 s4 s1: view_changed (4 of 5 alive)
	    13.8 ms  s1: next_changed s3
	    13.8 ms  s1: resent s3 epoch 1.0 (the stop before it is gone)
	3 laps
