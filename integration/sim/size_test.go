//go:build !race

package sim

// large is the size of the mesh whose figures count.
const large = 100
