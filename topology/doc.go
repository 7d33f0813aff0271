// Package topology knows who is in the mesh and who reaches whom: records, their merge, routes, targets and the
// codec of control messages; it is pure and never touches a socket, a clock or a lock.
package topology
