// Package lab makes hosts out of network namespaces, joins them by switches, routers, NAT boxes and wires with loss and
// delay, and gives scenarios one interface to machines of every kind; it needs root and nothing else installed.
package lab
