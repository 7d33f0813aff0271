package docker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

// answerTimeout is how long the engine may take to answer a question.
const answerTimeout = 5 * time.Second

// ErrNoContainer says that the engine answers and knows no such container.
var ErrNoContainer = errors.New("no such container")

// Container is what weavewg needs to know of a container.
type Container struct {
	ID   string // 64 hexadecimal digits
	Name string
	PID  int // of its first process, in the engine's view; 0: it does not run
	// HostNetwork says that it has no network namespace of its own (--net host).
	HostNetwork bool
}

// Namespace is the path of its network namespace; "" when it does not run.
func (c Container) Namespace() string {
	if c.PID == 0 {
		return ""
	}
	return fmt.Sprintf("/proc/%d/ns/net", c.PID)
}

// Inspect finds a container by its name, its id or a prefix of that. An engine that does not answer and a container that it
// does not know are different errors, the latter is ErrNoContainer.
func Inspect(ctx context.Context, nameOrID string) (Container, error) {
	e, err := open()
	if err != nil {
		return Container{}, err
	}
	defer e.Close()
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	r, err := e.ContainerInspect(ctx, nameOrID, client.ContainerInspectOptions{})
	switch {
	case errdefs.IsNotFound(err), errdefs.IsInvalidArgument(err):
		return Container{}, fmt.Errorf("%w: %q (docker ps lists them)", ErrNoContainer, nameOrID)
	case err != nil:
		return Container{}, fmt.Errorf("%w; where there is no docker, give a pid or the path of a network namespace instead of %q", unreachable(e, err), nameOrID)
	}
	c := Container{ID: r.Container.ID, Name: strings.TrimPrefix(r.Container.Name, "/")}
	if r.Container.State != nil && r.Container.State.Running {
		c.PID = r.Container.State.Pid
	}
	if r.Container.HostConfig != nil {
		c.HostNetwork = r.Container.HostConfig.NetworkMode.IsHost()
	}
	return c, nil
}

// open returns a client as the environment says (DOCKER_HOST and its kin).
func open() (*client.Client, error) {
	e, err := client.New(client.FromEnv)
	if err != nil {
		return nil, fmt.Errorf("docker: DOCKER_HOST or another DOCKER_ variable: %w", err)
	}
	return e, nil
}

// unreachable says in one line why the engine gave no answer.
func unreachable(e *client.Client, err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("docker at %s does not answer", e.DaemonHost())
	case client.IsErrConnectionFailed(err), errdefs.IsUnavailable(err):
		return fmt.Errorf("no docker at %s", e.DaemonHost())
	}
	return fmt.Errorf("docker at %s: %w", e.DaemonHost(), err)
}

// Version asks the engine for its version, such as "20.10.24 at unix:///var/run/docker.sock".
func Version(ctx context.Context) (string, error) {
	e, err := open()
	if err != nil {
		return "", err
	}
	defer e.Close()
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	v, err := e.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return "", unreachable(e, err)
	}
	return fmt.Sprintf("%s at %s", v.Version, e.DaemonHost()), nil
}
