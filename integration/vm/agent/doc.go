// Package agent runs programs inside a QEMU guest on behalf of the host: requests and answers are JSON values over one
// byte stream, a virtio serial port.
package agent
