// Package scenarios says what a mesh of weavewg nodes must do, each thing once, for machines of any kind: namespaces
// here (its own tests), QEMU guests (integration/vm), hosts behind SSH.
package scenarios
