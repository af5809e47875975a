package ring

import (
	"slices"
	"testing"
)

func TestBuildsOf(t *testing.T) {
	got := BuildsOf([]Instance{
		{State: Alive, Version: "v1", Protocol: 1},
		{State: Suspect, Version: "v2", Protocol: 2},
		{State: Alive, Version: "v2", Protocol: 2},
		{State: Alive, Version: "v2", Protocol: 1},
		{State: Dead, Version: "v0"},
		{State: Left, Version: "v0"},
		{State: Alive},
		{State: Alive, Version: "v3"},
	})
	if want := []Build{{"v2", 2, 2}, {"v1", 1, 1}, {"v2", 1, 1}, {"v3", 0, 1}}; !slices.Equal(got, want) {
		t.Errorf("BuildsOf = %v, want %v", got, want)
	}
}
