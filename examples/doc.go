// Package examples holds programs that show one idea each, with what any program may use:
// package ring and nothing else of this module. They end by themselves.
//
//	go run ./examples/transform   # a text goes through a Transform at each stop
//	go run ./examples/sum         # one lap adds up what all instances have
//	go run ./examples/ticker      # a headline of which every stop edits a word
//
// Each runs its instances in one process, which is package local. In a program of your own
// one ring.Join stands in its place, on each host.
package examples
