//go:build !forgetful

package journal

import "os"

// onDisk is the directory root as the file system keeps it.
func onDisk(root *os.Root) disk { return rootDisk{root} }
