package main

import (
	"context"
	"errors"

	"go.uber.org/zap"

	"github.com/weavewg/weavewg/wgmesh/node"
)

// newContainers is the container engine that attach looks names up in.
func newContainers(log *zap.Logger) node.Containers { return noEngine{log} }

// noEngine is a host without one.
type noEngine struct{ log *zap.Logger }

func (noEngine) Inspect(_ context.Context, name string) (node.Container, error) {
	return node.Container{}, errors.New(name + " is neither a process nor the path of a namespace, and no container engine is here")
}

func (noEngine) Watch(context.Context) <-chan struct{} { return nil }
