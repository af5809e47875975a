# A goodbye is not a death; the one who left is welcome again.
ring 5 0
form
leave 2 for 2s
	     0.0 ms  s2: view_changed (4 of 5 alive)
run 2s
	     0.2 ms  s3 s1 s0 s4: left s2 incarnation 1
	     0.2 ms  s3 s1 s0 s4: view_changed (4 of 5 alive)
	     0.2 ms  s1: next_changed s3
	     2.8 ms  s4 s0 s2 s3 s1: view_numbered s2 incarnation 1 revision 6
	     4.7 ms  s2: voting s2 revision 7 (I learn and do not vote)
	     4.7 ms  s2: voting s2 revision 7 (the others go on without my vote)
	     4.7 ms  s2: unanchored s2 tick 6 (nobody leads those who vote)
	2 laps
run 3s
	     0.8 ms  s2: returned s0 incarnation 1
	     0.8 ms  s2: returned s1 incarnation 1
	     0.8 ms  s2: returned s3 incarnation 1
	     0.8 ms  s2: returned s4 incarnation 1
	     0.8 ms  s2: elected s1
	   151.9 ms  s2: joined s2 incarnation 2
	   151.9 ms  s2 s3 s1 s0 s4: view_changed (5 of 5 alive)
	   152.1 ms  s3 s1 s0 s4: returned s2 incarnation 2
	   152.2 ms  s1: next_changed s2
	   155.0 ms  s1 s4 s0 s3 s2: view_numbered s2 incarnation 2 revision 9
	   232.6 ms  s2: voting s2 revision 11 (I vote)
	  1645.6 ms  s2: anchored s2 tick 11
	3 laps
