# A stopped process is silent: doubted, dialed anew, accused, cut. It comes back.
ring 5 0
form
pause 3 for 4s
run 4s
	   493.8 ms  s0: suspected s3 1.05s
	   494.2 ms  s4: suspected s3 1.051s
	   689.0 ms  s2: suspected s3 250ms
	   689.0 ms  s2: resent s3 epoch 1.1 (it is silent)
	   689.0 ms  s2: detour_on s3 by s0
	   704.5 ms  s1: suspected s3 251ms
	   794.2 ms  s0 s4 s1 s2: accused s3 by s0 incarnation 1
	   794.7 ms  s4 s1 s0 s2: accused s3 by s4 incarnation 1
	   989.4 ms  s2 s1 s4 s0: accused s3 by s2 incarnation 1
	  1005.1 ms  s1 s4 s2 s0: accused s3 by s1 incarnation 1
	  1017.6 ms  s1 s4 s0 s2: died s3 by s0 s1 s2 s4 incarnation 1
	  1017.6 ms  s1 s4 s0 s2: view_changed (4 of 5 alive)
	  1017.8 ms  s2: detour_off s3
	  1017.8 ms  s2: next_changed s4
	  1017.8 ms  s2: resent s4 epoch 1.1 (the stop before it is gone)
	  1020.3 ms  s4 s0 s1 s2: view_numbered s3 by s0 s1 s2 s4 incarnation 1 revision 6
	  4000.0 ms  s3: starved s3 3.995s
	  4000.0 ms  s3: resent s4 epoch 1.1 (its link is new)
	3 laps
run 3s
	     0.3 ms  s3: cut_off s3 (the others have cut this instance from the ring)
	     0.7 ms  s3: joined s3 incarnation 2
	     0.7 ms  s3 s0 s2 s4 s1: view_changed (5 of 5 alive)
	     0.7 ms  s3: whole s3 (5 of 5 in reach)
	    20.5 ms  s0 s2 s4 s1: returned s3 incarnation 2
	    20.5 ms  s2: next_changed s3
	    20.7 ms  s3: ticks_skipped s3 epoch 1.1 tick 10 skipped 3
	    22.9 ms  s1 s4 s2 s0 s3: view_numbered s3 incarnation 2 revision 8
	   633.6 ms  s3: view_numbered s3 by s0 s1 s2 s4 incarnation 1 revision 6
	3 laps
