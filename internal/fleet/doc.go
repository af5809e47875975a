// Package fleet starts real processes, breaks them and looks at them: what the
// process tests and the benchmarks share.
//
//	fleet.Group ──► fleet.Proc   one child process, its output by line and time
//	fleet.Net   ──► bridge ── eth0 of one network namespace per instance
//	fleet.Ring  ──► `ring node` processes of one ring, by index
//	fleet.API   ──► what an instance says of itself over HTTP
//
// Everything that a Group or a Net made is gone after its Close. Nothing else
// is ever killed or removed. It is of Linux: namespaces, and children that die with
// their parent.
package fleet
