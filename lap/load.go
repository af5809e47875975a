package lap

import (
	"runtime"

	"ringofservers.dev/ring"
)

// loadOf is the load here and now.
func loadOf(self ring.Name) LoadOfStop {
	return LoadOfStop{
		Name: self, Load1: hostLoad(), CPUs: runtime.NumCPU(), Goroutines: runtime.NumGoroutine(),
		RSS: resident(),
	}
}
