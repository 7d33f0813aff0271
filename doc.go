// Package weavewg is the module's overview; it holds no code. See ARCHITECTURE.md for the two paths, of a frame and of a
// control message, and for what each package is for.
package weavewg
