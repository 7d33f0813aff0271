// Package datapath is the pcap datapath: it captures frames at the overlay ports, decides, and sends them as VXLAN
// through the tunnels; what comes out of the tunnels it checks, learns from, joins and injects.
package datapath
