// Package metrics shows a node's status and counters to Prometheus: a collector that reads them at every scrape, and the
// small HTTP server of api.metrics.
package metrics
