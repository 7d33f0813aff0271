// Package sim runs many whole cores in one process and in virtual time: a seed decides everything, so that a run can be
// repeated; what lies below the cores (TCP, routed streams, WireGuard, the host) is modelled.
package sim
