# Frames from 1 to 2 get lost, those of others do not: a bad link and a detour.
ring 5 0
form
cut 1 2 for 10s
run 10s
	   704.3 ms  s1: suspected s2 251ms
	   704.3 ms  s1: resent s2 epoch 1.1 (it is silent)
	   704.3 ms  s1: detour_on s2 by s0
	   727.9 ms  s2: suspected s1 1.051s
	  1004.3 ms  s1 s4 s0 s3: accused s2 by s1 incarnation 1
	  1027.9 ms  s2 s3 s4 s0: accused s1 by s2 incarnation 1
	  2366.8 ms  s1 s4 s2 s0 s3: bad_link s2 by s1
	  2390.2 ms  s2 s1 s4 s3 s0: bad_link s1 by s2
	9 laps
# Mended.
run 4s
	   117.0 ms  s2 s3 s1 s0 s4: cleared s1 by s2
	   117.0 ms  s2 s3 s0 s4 s1: good_link s1 by s2
	   117.3 ms  s1 s4 s2 s0 s3: cleared s2 by s1
	   117.3 ms  s1 s4 s2 s0 s3: good_link s2 by s1
	   718.9 ms  s1: detour_off s2
	4 laps
