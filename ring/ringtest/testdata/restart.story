# All are killed and start again: the old epoch is on disk, the new one is greater.
ring 5 0
form
restart for 1s
run 1s
run 4s
	     0.8 ms  s0: joined s0 incarnation 2
	     0.8 ms  s0 s4 s2 s3 s1: view_changed (1 of 5 alive)
	     0.9 ms  s4: joined s4 incarnation 2
	     0.9 ms  s2: joined s2 incarnation 2
	     0.9 ms  s3: joined s3 incarnation 2
	     0.9 ms  s1: joined s1 incarnation 2
	     1.0 ms  s4 s1 s2 s3: returned s0 incarnation 2
	     1.0 ms  s4: next_changed s0
	     1.0 ms  s4 s1 s2 s0 s3: view_changed (2 of 5 alive)
	     1.2 ms  s1 s0 s4 s3: returned s2 incarnation 2
	     1.2 ms  s1: next_changed s2
	     1.2 ms  s2 s0 s3 s4: returned s1 incarnation 2
	     1.2 ms  s2 s0: next_changed s1
	     1.2 ms  s1 s4 s0: view_changed (3 of 5 alive)
	     1.2 ms  s4 s1 s0 s2: returned s3 incarnation 2
	     1.3 ms  s3 s2 s1 s0: returned s4 incarnation 2
	     1.3 ms  s3 s2: next_changed s4
	     1.4 ms  s2 s4 s3 s1: view_changed (4 of 5 alive)
	    12.7 ms  s3 s1 s4 s0 s2: view_changed (5 of 5 alive)
	    12.7 ms  s2: next_changed s3
	   400.9 ms  s0: dropped s0 epoch 2.0
	5 laps
