// Package vagrant runs the scenarios on three Vagrant boxes, over SSH: real kernels, real disks, a real network between.
package vagrant
