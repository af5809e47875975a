# Five shrink to three, one by one: each lost voter is taken out after a while, and the
# laps go on counting.
ring 5 0
form
crash 4
run 30s
	     0.5 ms  s1 s2 s0 s3: accused s4 by s1 incarnation 1 proven
	     0.6 ms  s0 s3 s1 s2: accused s4 by s0 incarnation 1 proven
	     0.8 ms  s3 s0 s2 s1: accused s4 by s3 incarnation 1 proven
	     0.9 ms  s2 s3 s1 s0: accused s4 by s2 incarnation 1 proven
	    13.5 ms  s2 s3 s1 s0: died s4 by s0 s1 s2 s3 incarnation 1 proven
	    13.5 ms  s2 s3 s1 s0: view_changed (4 of 5 alive)
	    13.6 ms  s3: next_changed s0
	    13.6 ms  s3: resent s0 epoch 1.1 (the stop before it is gone)
	    16.3 ms  s2 s0 s3 s1: view_numbered s4 by s0 s1 s2 s3 incarnation 1 proven revision 6
	30 laps
crash 3
run 30s
	     0.5 ms  s0 s1 s2: accused s3 by s0 incarnation 1 proven
	     0.6 ms  s2 s1 s0: accused s3 by s2 incarnation 1 proven
	     0.9 ms  s1 s0 s2: accused s3 by s1 incarnation 1 proven
	    13.4 ms  s1 s2 s0: died s3 by s0 s1 s2 incarnation 1 proven
	    13.4 ms  s1 s2 s0: view_changed (3 of 5 alive)
	    13.6 ms  s2: next_changed s0
	    13.6 ms  s2: resent s0 epoch 1.1 (the stop before it is gone)
	    15.9 ms  s1 s2 s0: view_numbered s3 by s0 s1 s2 incarnation 1 proven revision 10
	30 laps
# Two of those three are a quorum; of the first five they would be none.
crash 2
run 5s
	     0.7 ms  s1 s0: accused s2 by s1 incarnation 1 proven
	     0.9 ms  s0 s1: accused s2 by s0 incarnation 1 proven
	    13.4 ms  s0 s1: died s2 by s0 s1 incarnation 1 proven
	    13.4 ms  s0 s1: view_changed (2 of 5 alive)
	    13.6 ms  s1: next_changed s0
	    15.0 ms  s1 s0: view_numbered s2 by s0 s1 incarnation 1 proven revision 14
	5 laps
