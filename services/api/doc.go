// Package api is the daemon's unix socket: the requests it answers, the status schema that scripts rely on, and the client
// that the command line uses.
package api
