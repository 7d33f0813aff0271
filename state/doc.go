// Package state is the node's small persistent state: one JSON file in state_dir with a checksum, written whole or not at
// all, and a lock that keeps two daemons from sharing it.
package state
