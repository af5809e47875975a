# A goodbye is not a death; the one who left is welcome again.
ring 5 0
form
leave 2 for 2s
	     0.0 ms  s2: view_changed (4 of 5 alive)
run 2s
	     0.2 ms  s3 s1 s4 s0: left s2 incarnation 1
	     0.2 ms  s3 s1 s4 s0: view_changed (4 of 5 alive)
	     0.2 ms  s1: next_changed s3
	     0.2 ms  s1: resent s3 epoch 1.0 (the stop before it is gone)
	2 laps
run 3s
	     0.8 ms  s2: returned s0 incarnation 1
	     0.8 ms  s2: returned s1 incarnation 1
	     0.8 ms  s2: returned s3 incarnation 1
	     0.8 ms  s2: returned s4 incarnation 1
	     1.2 ms  s2: joined s2 incarnation 2
	     1.2 ms  s2 s3 s1 s0 s4: view_changed (5 of 5 alive)
	    12.7 ms  s3 s1 s0 s4: returned s2 incarnation 2
	    12.7 ms  s1: next_changed s2
	3 laps
