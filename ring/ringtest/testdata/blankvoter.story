# A voter comes back without its log: it learns first, and votes under a new
# generation, so nothing that its old log had promised is taken for kept.
ring 5 0
form
blank 2 for 2s
run 2s
	     0.6 ms  s3 s0 s4 s1: accused s2 by s3 incarnation 1 proven
	     0.7 ms  s1 s4 s0 s3: accused s2 by s1 incarnation 1 proven
	     0.8 ms  s4 s1 s0 s3: accused s2 by s4 incarnation 1 proven
	     0.9 ms  s0 s3 s4 s1: accused s2 by s0 incarnation 1 proven
	    15.5 ms  s4 s1 s0 s3: died s2 by s0 s1 s3 s4 incarnation 1 proven
	    15.5 ms  s4 s1 s0 s3: view_changed (4 of 5 alive)
	    15.5 ms  s1: next_changed s3
	    18.3 ms  s4 s1 s0 s3: view_numbered s2 by s0 s1 s3 s4 incarnation 1 proven revision 6
	2 laps
run 4s
	     0.8 ms  s2: returned s0 incarnation 1
	     0.8 ms  s2: returned s1 incarnation 1
	     0.8 ms  s2: returned s3 incarnation 1
	     0.8 ms  s2: returned s4 incarnation 1
	     0.8 ms  s2: elected s1
	   151.9 ms  s2: joined s2 incarnation 2
	   151.9 ms  s2 s3 s1 s4 s0: view_changed (5 of 5 alive)
	   152.1 ms  s3 s1 s4 s0: returned s2 incarnation 2
	   152.2 ms  s1: next_changed s2
	   154.7 ms  s1 s4 s0 s3 s2: view_numbered s2 incarnation 2 revision 8
	   160.7 ms  s2: voting s2 revision 10 (I vote)
	   844.4 ms  s2: anchored s2 tick 10
	4 laps
