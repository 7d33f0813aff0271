// Package l2bridge knows what a frame is, how it travels (VXLAN, segments), where it goes, and what the bridges of the
// overlay namespace should look like; it is pure, edges below it capture, inject and configure.
package l2bridge
