# Five processes start within a third of a second, in no order, and form a ring.
ring 5 1
run 5s
	   181.4 ms  s0: joined s0 incarnation 1
	   181.4 ms  s0: view_changed (1 of 5 alive)
	   181.7 ms  s4 s3 s2 s1: returned s0 incarnation 1
	   218.7 ms  s4: joined s4 incarnation 1
	   218.7 ms  s4 s0: view_changed (2 of 5 alive)
	   219.0 ms  s0 s3 s2 s1: returned s4 incarnation 1
	   219.0 ms  s0: next_changed s4
	   244.9 ms  s3: joined s3 incarnation 1
	   244.9 ms  s3 s0 s4: view_changed (3 of 5 alive)
	   252.8 ms  s2 s0 s1 s4: returned s3 incarnation 1
	   252.8 ms  s0: next_changed s3
	   261.5 ms  s2: joined s2 incarnation 1
	   261.5 ms  s2 s3 s4 s0: view_changed (4 of 5 alive)
	   281.2 ms  s3 s4 s1 s0: returned s2 incarnation 1
	   281.2 ms  s0: history_begun s0 revision 1 (history fe54d98f)
	   281.3 ms  s0: next_changed s2
	   282.8 ms  s0: voting s0 revision 1 (I vote)
	   282.9 ms  s4: voting s4 revision 1 (I vote)
	   284.1 ms  s3: voting s3 revision 1 (I vote)
	   285.6 ms  s2: voting s2 revision 1 (I vote)
	   295.0 ms  s0 s3 s2 s4 s1: elected s0
	   298.8 ms  s0 s3 s4 s1 s2: view_numbered s0 s2 s3 s4 incarnation 1 revision 3
	   298.8 ms  s0: dropped s0 epoch 1.0
	   298.8 ms  s0: anchored s0 tick 1
	   299.1 ms  s2: anchored s2 tick 1
	   299.2 ms  s3: anchored s3 tick 1
	   299.5 ms  s4: anchored s4 tick 1
	   383.6 ms  s1: joined s1 incarnation 1
	   383.6 ms  s1 s0 s4 s2 s3: view_changed (5 of 5 alive)
	   383.7 ms  s0 s4 s2 s3: returned s1 incarnation 1
	   383.7 ms  s0: next_changed s1
	   500.0 ms  s1: anchored s1 tick 2
	  1096.0 ms  s1: voting s1 revision 6 (I vote)
	  1096.2 ms  s0 s3 s1 s4 s2: view_numbered s1 incarnation 1 revision 8
	6 laps
