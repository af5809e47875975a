package ring

import (
	"cmp"
	"slices"

	"ringofservers.dev/ring/internal/wire"
)

// Protocol is what this version speaks between instances. It speaks with those one protocol
// behind it or ahead, as the older one does; so an upgrade goes from each to the next.
const Protocol = wire.ProtocolVersion

// Build is a version of the program that instances run, and how many do.
type Build struct {
	Version  string `json:"version"`
	Protocol int    `json:"protocol"` // 0 while unknown
	Count    int    `json:"count"`
}

// BuildsOf is what those of the instances run that are in the ring, most frequent first: more
// than one where an upgrade is under way.
func BuildsOf(instances []Instance) []Build {
	builds := []Build{}
	for _, i := range instances {
		if i.State != Alive && i.State != Suspect || i.Version == "" {
			continue
		}
		at := slices.IndexFunc(builds, func(b Build) bool {
			return b.Version == i.Version && b.Protocol == i.Protocol
		})
		if at < 0 {
			at, builds = len(builds), append(builds, Build{Version: i.Version, Protocol: i.Protocol})
		}
		builds[at].Count++
	}
	slices.SortStableFunc(builds, func(a, b Build) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Version, b.Version),
			cmp.Compare(a.Protocol, b.Protocol))
	})
	return builds
}
