// Package lap has the stations that come with an instance: what each one adds to a
// passenger that rides by, and what it lets ride itself.
//
//	ring lap clocks ─► a ──► b ──► c ──► … ─► home    one value, to which each stop adds
//	                   │     │     │                  its part while it holds the particle
//	                   └─────┴─────┴── its clock, its load, its version, its name,
//	                                   or what a command of its own configuration says
//
// [AddQuestions] has an instance answer the questions that need nothing but itself:
// [NamesTopic], [LoadTopic], [VersionsTopic] and [ClocksTopic]. [AddCommands] has it answer
// with what commands say. Commands are those of the instance's own configuration; a
// passenger carries the name of one, and nothing that is run or given to it.
//
// A value has at most ring.PassengerMax bytes however large the fleet is, so what is said
// of all are counts and extremes; each instance is named as long as there is room, and of
// those behind it is said how many more there are. A stop that cannot read what those
// before it have made, or has not answered within its budget, adds nothing, which the
// passenger's receipt shows: it is not among those who have folded.
//
// [Health] has the state of an application ride to all instances whenever that changes,
// and keeps what it hears of the others.
package lap
