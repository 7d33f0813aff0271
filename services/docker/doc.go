// Package docker finds containers by name or id and tells when they come and go, through the Docker engine's API at
// DOCKER_HOST or its standard socket.
package docker
