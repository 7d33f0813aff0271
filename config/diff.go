package config

import "reflect"

// Change is a key whose value differs between two configurations.
type Change struct {
	Key     string // such as log.level
	Restart bool   // takes effect only after a restart
	Where   Origin // of the new value
}

// Diff lists the keys that differ, in the order of the file. A reload applies all of them, or none if one needs a restart.
func Diff(before, after *Config) []Change {
	var changes []Change
	for _, l := range leaves() {
		same := reflect.DeepEqual(before.values[l.path], after.values[l.path])
		if l.path == "proxy" {
			same = before.Proxy == after.Proxy // values leave the password out
		}
		if !same {
			changes = append(changes, Change{Key: l.path, Restart: !l.live, Where: after.origins.of(l.path)})
		}
	}
	return changes
}
