# Five processes start within a third of a second, in no order, and form a ring.
ring 5 1
run 5s
	    31.8 ms  s0: joined s0 incarnation 1
	    31.8 ms  s0 s4: view_changed (1 of 5 alive)
	    69.2 ms  s4: joined s4 incarnation 1
	    69.3 ms  s4 s1 s3 s2: returned s0 incarnation 1
	    69.3 ms  s4: next_changed s0
	    69.3 ms  s4 s0: view_changed (2 of 5 alive)
	    80.9 ms  s0 s1 s3 s2: returned s4 incarnation 1
	    80.9 ms  s0: next_changed s4
	   223.0 ms  s1: joined s1 incarnation 1
	   223.0 ms  s1 s0 s4: view_changed (3 of 5 alive)
	   233.8 ms  s3 s0 s4 s2: returned s1 incarnation 1
	   234.0 ms  s3: joined s3 incarnation 1
	   234.0 ms  s3 s0 s1 s4: view_changed (4 of 5 alive)
	   235.0 ms  s0: next_changed s1
	   241.5 ms  s2 s0 s1 s4: returned s3 incarnation 1
	   242.2 ms  s2: joined s2 incarnation 1
	   242.2 ms  s2 s3 s1 s4 s0: view_changed (5 of 5 alive)
	   245.5 ms  s1: next_changed s3
	   253.7 ms  s3 s1 s4 s0: returned s2 incarnation 1
	   253.8 ms  s1: next_changed s2
	   431.8 ms  s0: dropped s0 epoch 1.0
	6 laps
