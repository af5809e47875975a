# One is killed; its neighbours feel the connection break, a new dial is refused.
ring 5 0
form
crash 2 for 3s
run 3s
	     0.6 ms  s3 s0 s4 s1: accused s2 by s3 incarnation 1 proven
	     0.7 ms  s1 s4 s0 s3: accused s2 by s1 incarnation 1 proven
	     0.8 ms  s4 s1 s0 s3: accused s2 by s4 incarnation 1 proven
	     0.9 ms  s0 s3 s4 s1: accused s2 by s0 incarnation 1 proven
	    15.5 ms  s4 s1 s0 s3: died s2 by s0 s1 s3 s4 incarnation 1 proven
	    15.5 ms  s4 s1 s0 s3: view_changed (4 of 5 alive)
	    15.5 ms  s1: next_changed s3
	    18.3 ms  s4 s1 s0 s3: view_numbered s2 by s0 s1 s3 s4 incarnation 1 proven revision 6
	3 laps
# It is started again, and is let in at once.
run 3s
	     0.8 ms  s2: returned s0 incarnation 1
	     0.8 ms  s2: returned s1 incarnation 1
	     0.8 ms  s2: returned s3 incarnation 1
	     0.8 ms  s2: returned s4 incarnation 1
	   151.9 ms  s2: joined s2 incarnation 2
	   151.9 ms  s2 s3 s1 s0 s4: view_changed (5 of 5 alive)
	   152.2 ms  s3 s1 s0 s4: returned s2 incarnation 2
	   152.2 ms  s1: next_changed s2
	   154.4 ms  s1 s4 s0 s3 s2: view_numbered s2 incarnation 2 revision 8
	   829.9 ms  s2: elected s1
	   845.5 ms  s2: anchored s2 tick 11
	3 laps
