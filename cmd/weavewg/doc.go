// Command weavewg makes the hosts of a mesh one Ethernet switch: the daemon, its client commands and the demo.
package main
