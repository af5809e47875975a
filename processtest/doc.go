// Package processtest tests real processes of `ring node`: what bad input and
// faults do to them, each in a test of its own, and the invariants R1, R2, P1, P2,
// P3, S1, B1, H1, H2, H4 and H5 named in the tests' names. It holds nothing but tests,
// and in leaser a program that takes leases as a third party would.
//
// P2, P3, S1 and B1 go through a history of faults once, or again and again for as
// long as PROCESSTEST_CHAOS says (`make chaos`); those that take half a minute for once
// only if it says something. Whom they hit is by chance, of a
// seed that the test logs; PROCESSTEST_SEED takes it.
//
// PROCESSTEST_OLDER names a binary of an earlier version, from which an upgrade is to begin.
//
// The binary is built once, with -race if the tests are, and once more with the tag
// forgetful: then a kill is a loss of power, and what was not synced is gone. Links are broken in
// network namespaces, which needs root, ip and nft; elsewhere those tests are
// skipped and say so, unless CI=true and root, where a skip is a failure.
package processtest
