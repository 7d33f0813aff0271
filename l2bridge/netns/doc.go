// Package netns runs a function inside a network namespace and recognises one; everything else about namespaces (who
// holds the overlay's, what is in it) belongs to the packages that import this one.
package netns
