//go:build race

package sim

// large is smaller under the race detector, which makes a simulation ten times slower and finds little in it: a world
// has one goroutine.
const large = 30
