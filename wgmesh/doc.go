// Package wgmesh decides everything about links: which sessions to hold, which tunnels should exist with which keys,
// what the WireGuard devices should look like and how to get there; it is pure, edges below it carry the decisions out.
package wgmesh
