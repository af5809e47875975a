// Package supervise keeps one application running beside an instance, and knows
// how it is.
//
//	this process ── pipe ──► guard ──► the application and all its children
//	  checks, policy           │        (a process group of its own)
//	                           └─ when the pipe closes, however that comes
//	                              about, it kills everything below it
//
// An [App] starts a command, looks after it (HTTP, TCP, a command), starts it again
// after an exit or too many failed checks, each time later, and gives up where that
// happens too often in a short time. [App.Stop] drains it.
//
// Between this process and the application stands a guard: see package guard, which says
// what ends with what. It kills the application's group, and on Linux also those who left
// the group, when the application ends or this process does. Nothing is read or copied of
// what the application prints: it has this process's own outputs.
//
// Only Unix has process groups: on other systems Start fails with ErrUnsupported.
package supervise
