// Command init is the first process of a QEMU guest: it loads modules, puts a writable layer over the host's files, and
// runs the agent that the host talks to.
package main
