package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weavewg/weavewg/services/api"
)

// Exit codes, as the contract has them.
const (
	exitFailed       = 1
	exitUsage        = 2
	exitNotRunning   = 3
	exitDegraded     = 4
	exitNotPermitted = 5
)

// usageError is a mistake in how a command was typed; its usage line is printed below.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

// degradedError says that the command worked and what it checked is not well.
type degradedError struct{ text string }

func (e degradedError) Error() string { return e.text }

// reportedError ends the program with a code, its text was printed by somebody else.
type reportedError struct{ code int }

func (e reportedError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// fail prints an error and returns the exit code that belongs to it.
func (a *app) fail(cmd *cobra.Command, err error) int {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[reportedError](err); ok {
		return e.code
	}
	fmt.Fprintf(a.err, "%s\n", strings.TrimSpace(err.Error()))
	if e, ok := errors.AsType[*api.Error](err); ok {
		for _, c := range e.Choices {
			fmt.Fprintf(a.err, "  %s\n", c)
		}
	}
	code := exitCode(err)
	if _, usage := errors.AsType[usageError](err); usage {
		fmt.Fprintf(a.err, "usage: %s\n", cmd.UseLine())
	}
	return code
}

// exitCode maps an error to its code.
func exitCode(err error) int {
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[degradedError](err); ok {
		return exitDegraded
	}
	if e, ok := errors.AsType[*api.Error](err); ok {
		switch e.Code {
		case api.CodeAmbiguous, api.CodeUsage:
			return exitUsage
		case api.CodeNotPermitted:
			return exitNotPermitted
		}
		return exitFailed
	}
	switch {
	case errors.Is(err, api.ErrNotRunning):
		return exitNotRunning
	case errors.Is(err, os.ErrPermission), errors.Is(err, errNotRoot):
		return exitNotPermitted
	}
	return exitFailed
}

// errNotRoot is for commands that change the host.
var errNotRoot = errors.New("needs root")
