// Package rtnl makes and observes the overlay namespace's bridges, and plugs containers, namespaces and the host itself
// into them, by netlink.
package rtnl
