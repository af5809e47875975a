// Package station runs an operator's commands at a stop of the ring: filters that
// passengers go through, and a command at ticks.
//
//	particle ──► this stop ──► next stop
//	               │   ▲
//	    a line for │   │ a line for each line
//	each passenger ▼   │
//	              filter      one child for all of them, under a guard
//
// [Start] makes a filter a station: a command that is started once and gets a line on its
// standard input for each passenger of a topic, and writes a line for each on its standard
// output. While it does, the particle is held. There are two formats:
//
//   - [Text]: the line is the passenger's value so far, or its payload where nobody has
//     changed it yet; the answer is its new value, and counts as folded where it is the same
//     as before, too. So `sed -u s/a/b/` is a station. What is not UTF-8, or has more than one
//     line, is not asked about, and goes on unchanged.
//   - [JSON]: the line is the [ring.Passenger] as an object, payload and value in base64. The
//     answer is an object with the same number, and a value in base64; with none, or null,
//     the passenger goes on unchanged and has not been folded here.
//     `jq -c --unbuffered '.value = …'` is a station.
//
// A filter must write its answer at once, so tell it not to buffer: sed -u, awk with
// fflush(), jq --unbuffered, grep --line-buffered, python -u.
//
// # What is promised
//
// No filter holds the particle for longer than [Config].Hold at one stop, whatever it does.
// A passenger goes on unchanged where there is no answer in time, or no filter: one that
// ends is started again, each time later. One that has no answer in time is killed and
// started again, so that no late answer is taken for another passenger's; only its first
// may take longer ([Config].Startup), is thrown away, and until it has come nothing else is
// asked. One that writes more than a line for a line is killed when that is seen. In Text a
// stray line can be taken for the answer to a question that was asked in the same moment; in
// JSON it cannot, since its number is another's.
//
// That there is no filter to ask, and an answer that is late, none, or too long, is also an
// error of the station's: an event of the ring's, station_failed, which tells one a minute.
//
// [OnTick] runs a command at ticks, never two at once.
//
// What ends with what is a matter of package guard: nothing of these commands outlives this
// process. On systems without process groups both fail with [ErrUnsupported].
package station
