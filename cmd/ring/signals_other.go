//go:build !unix

package main

import "os"

// passable are the signals that can be passed on to an application: here there are none.
var passable = map[os.Signal]string{}
