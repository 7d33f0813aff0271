// Package control is the edge through which nodes talk: it holds the identity and the mesh secrets, answers only those
// who knock, agrees on TLS 1.3 sessions bound to both, and moves control messages over TCP or through neighbours.
package control
