# Two of seven are cut off together; each side is a ring, one knows it has no quorum.
ring 7 0
form
partition 2,3 for 10s
run 10s
	   323.5 ms  s4 s1 s0 s5: suspected s2 251ms
	   341.3 ms  s2: suspected s4 1.051s
	   425.6 ms  s3: suspected s5 250ms
	   425.8 ms  s3: suspected s6 251ms
	   425.9 ms  s3: suspected s4 251ms
	   425.9 ms  s3: resent s4 epoch 1.0 (it is silent)
	   425.9 ms  s3: detour_on s4 by s0
	   462.0 ms  s5: suspected s3 1.05s
	   462.2 ms  s6 s4: suspected s3 1.051s
	   550.6 ms  s1: resent s2 epoch 1.0 (it is silent)
	   550.6 ms  s1: detour_on s2 by s0
	   550.8 ms  s1: suspected s3 251ms
	   554.8 ms  s2 s3: suspected s1 1.051s
	   557.9 ms  s0: suspected s3 250ms
	   608.0 ms  s3: suspected s0 1.05s
	   608.4 ms  s2: suspected s0 1.051s
	   641.3 ms  s2 s3: accused s4 by s2 incarnation 1
	   651.9 ms  s6: suspected s2 250ms
	   670.4 ms  s2: suspected s6 1.051s
	   721.6 ms  s2: suspected s5 1.051s
	   725.6 ms  s3 s2: accused s5 by s3 incarnation 1
	   725.8 ms  s3 s2: accused s6 by s3 incarnation 1
	   725.9 ms  s3 s2: accused s4 by s3 incarnation 1
	   762.0 ms  s5 s4 s6 s0 s1: accused s3 by s5 incarnation 1
	   762.2 ms  s6 s5 s0 s1 s4: accused s3 by s6 incarnation 1
	   762.3 ms  s4 s5 s1 s0 s6: accused s3 by s4 incarnation 1
	   773.5 ms  s4 s5 s1 s0 s6: accused s2 by s4 incarnation 1
	   850.6 ms  s1 s4 s6 s0 s5: accused s2 by s1 incarnation 1
	   850.8 ms  s1 s4 s6 s0 s5: accused s3 by s1 incarnation 1
	   854.8 ms  s2 s3: accused s1 by s2 incarnation 1
	   855.1 ms  s3 s2: accused s1 by s3 incarnation 1
	   857.9 ms  s0 s6 s5 s4 s1: accused s3 by s0 incarnation 1
	   858.2 ms  s0 s6 s5 s4 s1: accused s2 by s0 incarnation 1
	   870.7 ms  s2 s3: died s1 by s2 s3 incarnation 1
	   870.7 ms  s2 s3: died s4 by s2 s3 incarnation 1
	   870.7 ms  s2 s3 s1 s4 s6 s0 s5: view_changed (5 of 7 alive)
	   870.9 ms  s3: detour_off s4
	   870.9 ms  s3: next_changed s5
	   870.9 ms  s3: resent s5 epoch 1.0 (the stop before it is gone)
	   870.9 ms  s3: detour_on s5 by s2
	   908.0 ms  s3 s2: accused s0 by s3 incarnation 1
	   908.4 ms  s2 s3: accused s0 by s2 incarnation 1
	   921.9 ms  s2 s3: died s0 by s2 s3 incarnation 1
	   921.9 ms  s2 s3: view_changed (4 of 7 alive)
	   951.9 ms  s6 s5 s0 s1 s4: accused s2 by s6 incarnation 1
	   958.8 ms  s1 s4 s6 s0 s5: died s2 by s0 s1 s4 s6 incarnation 1
	   958.8 ms  s1 s4 s6 s0 s5: died s3 by s0 s1 s4 s5 s6 incarnation 1
	   958.8 ms  s1: detour_off s2
	   958.8 ms  s1: next_changed s4
	   958.8 ms  s1: resent s4 epoch 1.0 (the stop before it is gone)
	   970.4 ms  s2 s3: accused s6 by s2 incarnation 1
	   983.9 ms  s2 s3: unreachable s6 by s2 s3 incarnation 1
	   983.9 ms  s2 s3: view_changed (3 of 7 alive)
	   983.9 ms  s2: cut_off s2 (3 of 7 in reach)
	   984.1 ms  s3: cut_off s3 (3 of 7 in reach)
	  1021.6 ms  s2 s3: accused s5 by s2 incarnation 1
	  1035.1 ms  s2 s3: unreachable s5 by s2 s3 incarnation 1
	  1035.1 ms  s2 s3: view_changed (2 of 7 alive)
	  1035.3 ms  s3: detour_off s5
	  1035.3 ms  s3: next_changed s2
	  1035.3 ms  s3: resent s2 epoch 1.0 (the stop before it is gone)
	10 laps
# Healed.
run 4s
	     9.4 ms  s2: accused s3 by s0 incarnation 1
	     9.4 ms  s2: accused s3 by s1 incarnation 1
	     9.4 ms  s2: accused s3 by s4 incarnation 1
	     9.4 ms  s2: accused s3 by s5 incarnation 1
	     9.4 ms  s2: accused s3 by s6 incarnation 1
	     9.4 ms  s2 s3: returned s0 incarnation 1
	     9.4 ms  s2 s3: returned s1 incarnation 1
	     9.4 ms  s2: died s3 incarnation 1
	     9.4 ms  s2 s3: returned s4 incarnation 1
	     9.4 ms  s2 s3: returned s5 incarnation 1
	     9.4 ms  s2 s3: returned s6 incarnation 1
	     9.4 ms  s2: joined s2 incarnation 2
	     9.4 ms  s2 s3: next_changed s4
	     9.4 ms  s2: resent s4 epoch 1.0 (the stop before it is gone)
	     9.4 ms  s2: detour_on s4 by s0
	     9.4 ms  s2 s0 s6 s5 s4 s1: view_changed (6 of 7 alive)
	     9.4 ms  s2: whole s2 (6 of 7 in reach)
	     9.5 ms  s3: accused s2 by s0 incarnation 1
	     9.5 ms  s3: accused s2 by s1 incarnation 1
	     9.5 ms  s3: accused s2 by s4 incarnation 1
	     9.5 ms  s3: accused s2 by s6 incarnation 1
	    11.6 ms  s3: cleared s4 by s2
	    11.6 ms  s3: cleared s1 by s2
	    11.6 ms  s3: cleared s0 by s2
	    11.6 ms  s3: cleared s6 by s2
	    11.6 ms  s3: cleared s5 by s2
	    11.6 ms  s3 s0 s6 s5 s4 s1: returned s2 incarnation 2
	    11.6 ms  s3: view_changed (2 of 7 alive)
	    11.9 ms  s1: next_changed s2
	    22.8 ms  s3: joined s3 incarnation 2
	    22.8 ms  s3 s2 s4 s5 s1 s0 s6: view_changed (7 of 7 alive)
	    22.8 ms  s3: whole s3 (7 of 7 in reach)
	    23.0 ms  s2: cleared s5 by s3
	    23.0 ms  s2: cleared s6 by s3
	    23.0 ms  s2: cleared s4 by s3
	    23.0 ms  s2: cleared s1 by s3
	    23.0 ms  s2: cleared s0 by s3
	    23.0 ms  s2 s4 s5 s1 s0 s6: returned s3 incarnation 2
	    23.0 ms  s2: detour_off s4
	    23.0 ms  s2: next_changed s3
	4 laps
