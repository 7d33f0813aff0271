// Package scout is the one datagram format of weavewg for everything that is not WireGuard on its UDP ports: a small
// authenticated question "can you hear me, and where do you see me", and its answer from the same port. Scouts check
// candidates and punch holes, learn mapped addresses, register at a relay and measure path MTUs. It is pure.
package scout
