// Package wire says what two instances tell each other and how it looks as
// bytes. It decides nothing and does no I/O.
//
//	0       4      5                        4+length
//	├───────┼──────┼───────────────────────────┤
//	│length │ kind │ payload                   │   one frame
//	└───────┴──────┴───────────────────────────┘
//	 u32 BE  u8     length-1 bytes
//	        ╰────── what Decode takes ─────────╯
//
//	Particle  kind │ epoch 20 B │ lap, base, limit, held u64 │ … │ stamps, 3 B each
//	Beat      kind │ seq, echo, age, records, view u32 │ rank 5 B │ you 11 B
//
// The Particle and the Beat have fixed widths and cost no allocation in either
// direction; everything else is made of unsigned varints, flag bytes and
// counted lists. In use:
//
//	buf = wire.Append(buf[:0], &wire.Bye{Text: "leaving"})
//	frame, rest, err := wire.Split(received) // ErrShort: read more first
//	msg, err := decoder.Decode(frame)        // ErrUnknownKind: skip the frame
//
// Guarantees: no input makes the decoder panic; nothing is allocated before the
// length that asks for it was checked against the limits of messages.go and
// against the bytes that are there; what Append wrote, Decode gives back.
//
// A newer peer may add fields at the end of a frame, of a record in a Flood
// and of the Beat inside a Hello, and bits to a flag byte: all are ignored.
// Nothing else may change without a new ProtocolVersion.
package wire
