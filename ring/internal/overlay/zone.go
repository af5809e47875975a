package overlay

import "strings"

// localRing is the ring that stays within zones, where there are any.
const localRing = 1

// zonesOf returns the zone of each name, its first path element, or nil if no ring is
// to stay within them: because names have none, because most links of ring 0 do
// already, or because of count rings no other would be left to join what is far apart.
func zonesOf(names []string, count int) []string {
	if count < localRing+2 {
		return nil
	}
	zones := make([]string, len(names))
	for i, name := range names {
		zone, _, ok := strings.Cut(name, "/")
		if !ok {
			return nil
		}
		zones[i] = zone
	}
	crossing := 0
	for i, zone := range zones {
		if zone != zones[(i+1)%len(zones)] {
			crossing++
		}
	}
	if 2*crossing <= len(zones) {
		return nil
	}
	return zones
}

// numbered returns the number of each name's zone, or nil unless there are several.
func numbered(names []string) []uint16 {
	number := map[string]uint16{}
	zones := make([]uint16, len(names))
	for i, name := range names {
		zone, _, ok := strings.Cut(name, "/")
		if !ok {
			return nil
		}
		n, known := number[zone]
		if !known {
			n = uint16(len(number))
			number[zone] = n
		}
		zones[i] = n
	}
	if len(number) < 2 {
		return nil
	}
	return zones
}
