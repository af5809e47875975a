// Package doctor looks at a whole fleet, finds what is wrong before it hurts, and says what
// to do about it.
//
//	                 ┌─ looks at itself ─┐
//	Examine ─ asks ─►│ disk files cpu …  │  sheet ─┐
//	   │             │ dials the others  │         ├─ merged on the way ─► Report
//	   │             └───────────────────┘  sheet ─┘    a table: check, verdict, who, what to do
//	   └── asks all for the time: whose clock is off
//
// [Attend] has an instance answer; [Doctor.Examine] asks all of them, of any instance that
// attends. What comes home is small however large the fleet is: of each kind of trouble how
// many have it and who the first of them are, and what there was no room for is counted.
//
// Paths are tried between all pairs of up to [AllPairs] instances. In a larger fleet each
// instance tries those it is linked with and [SamplePaths] others, by chance, so that what
// is wrong with one instance is still seen by several.
//
// The doctor changes nothing, but it costs something: each instance dials others, and writes
// and syncs some small files in its data directory. Whoever asks again within a second gets
// what was found before.
package doctor
