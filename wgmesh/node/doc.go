// Package node runs one weavewg node: it owns every goroutine of the daemon and joins the pure core with the edges that
// carry its decisions out.
package node
