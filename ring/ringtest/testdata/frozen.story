# A stopped process is silent: doubted, dialed anew, accused, cut. It comes back.
ring 5 0
form
pause 3 for 4s
run 4s
	   550.8 ms  s1: suspected s3 251ms
	   557.9 ms  s0: suspected s3 250ms
	   851.4 ms  s1 s4 s2 s0: accused s3 by s1 incarnation 1
	   891.5 ms  s2 s4: suspected s3 1.051s
	   891.5 ms  s2: resent s3 epoch 1.0 (it is silent)
	   891.5 ms  s2: detour_on s3 by s0
	  1008.3 ms  s0 s4 s1 s2: accused s3 by s0 incarnation 1
	  1191.8 ms  s2 s1 s0 s4: accused s3 by s2 incarnation 1
	  1192.2 ms  s4 s1 s0 s2: accused s3 by s4 incarnation 1
	  1201.4 ms  s1 s4 s2 s0: bad_link s3 by s1
	  1204.7 ms  s4 s1 s0 s2: died s3 by s0 s1 s2 s4 incarnation 1
	  1204.7 ms  s4 s1 s0 s2: view_changed (4 of 5 alive)
	  1205.0 ms  s2: detour_off s3
	  1205.0 ms  s2: next_changed s4
	  1205.0 ms  s2: resent s4 epoch 1.0 (the stop before it is gone)
	  4000.0 ms  s3: starved s3 3.995s
	  4000.0 ms  s3: resent s4 epoch 1.0 (its link is new)
	3 laps
run 3s
	     0.7 ms  s3: cut_off s3 (the others have cut this instance from the ring)
	     0.7 ms  s3: joined s3 incarnation 2
	     0.7 ms  s3 s0 s2 s4 s1: view_changed (5 of 5 alive)
	     0.8 ms  s3: whole s3 (5 of 5 in reach)
	    13.3 ms  s0 s2 s4 s1: returned s3 incarnation 2
	    13.4 ms  s2: next_changed s3
	3 laps
