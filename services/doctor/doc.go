// Package doctor tries out what weavewg wants of a host, in a network namespace of its own, and says what is there, what
// lacks and what follows.
package doctor
