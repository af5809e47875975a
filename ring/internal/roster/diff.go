package roster

// Difference is one index at which two rosters name different instances. A
// name is empty where that roster has already ended.
type Difference struct {
	Index int
	A, B  string
}

// Diff compares the names of two rosters by index. It is empty when they are
// the same; when Older(a, b), it holds nothing but what b appended.
func Diff(a, b []string) []Difference {
	var differences []Difference
	for i := range max(len(a), len(b)) {
		d := Difference{Index: i}
		if i < len(a) {
			d.A = a[i]
		}
		if i < len(b) {
			d.B = b[i]
		}
		if d.A != d.B {
			differences = append(differences, d)
		}
	}
	return differences
}

// Older reports whether a is what b was before instances were appended to it:
// its names are the first of b's, and b has more.
func Older(a, b []string) bool {
	if len(a) >= len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
