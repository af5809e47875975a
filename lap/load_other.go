//go:build !linux

package lap

func hostLoad() *float64 { return nil }

func resident() *int64 { return nil }
