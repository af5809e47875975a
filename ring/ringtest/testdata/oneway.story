# Frames from 1 to 2 get lost, those of others do not: a bad link and a detour.
ring 5 0
form
cut 1 2 for 10s
run 10s
	   692.0 ms  s1: suspected s2 251ms
	   692.0 ms  s1: resent s2 epoch 1.0 (it is silent)
	   692.0 ms  s1: detour_on s2 by s0
	   714.2 ms  s2: suspected s1 1.051s
	   992.0 ms  s1 s4 s0 s3: accused s2 by s1 incarnation 1
	  1014.2 ms  s2 s3 s0 s4: accused s1 by s2 incarnation 1
	  2354.5 ms  s1 s4 s2 s0 s3: bad_link s2 by s1
	  2376.5 ms  s2 s1 s4 s3 s0: bad_link s1 by s2
	9 laps
# Mended.
run 4s
	     7.5 ms  s2 s3 s1 s0 s4: cleared s1 by s2
	     7.5 ms  s2 s3 s0 s1 s4: good_link s1 by s2
	     7.7 ms  s1 s4 s2 s0 s3: cleared s2 by s1
	     7.7 ms  s1 s4 s2 s0 s3: good_link s2 by s1
	   706.6 ms  s1: detour_off s2
	4 laps
