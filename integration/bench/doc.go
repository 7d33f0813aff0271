// Package bench compares weavewg with what people would use instead: between two namespaces, interleaved, so that what
// disturbs one disturbs all, and with ratios of pairs instead of figures of one machine.
package bench
