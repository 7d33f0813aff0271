// Package learner remembers, for one network, which node a MAC address is behind and which IP addresses it was seen
// with; it is pure: time comes as an argument, and nothing here touches a socket, a clock or a lock.
package learner
