package ringtest

import "testing"

// What a schedule says of itself is read back as the same.
func FuzzParseSchedule(f *testing.F) {
	f.Add([]byte("5.35s deaf 4 for 1.022s\n"))
	f.Add([]byte("# remark\n1m0.2s part 1 2 for 16.36s\n2s flap 3 for 36s"))
	f.Fuzz(func(t *testing.T, text []byte) {
		actions, err := ParseSchedule(text)
		if err != nil {
			return
		}
		for i := range actions {
			line := actions[i].String()
			again, err := ParseSchedule([]byte(line))
			if err != nil || len(again) != 1 || again[0].String() != line {
				t.Fatalf("%q is read back as %v, %v", line, again, err)
			}
		}
	})
}
