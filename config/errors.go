package config

import (
	"fmt"
	"strings"
)

// Error is one fault of the configuration: one line that says where, what and what to try.
type Error struct {
	Where string // file:line:column, the variable or the flag; "" where there is no such place
	Text  string
}

// Error returns the line.
func (e Error) Error() string {
	if e.Where == "" {
		return e.Text
	}
	return e.Where + ": " + e.Text
}

// Errors are all faults of a configuration, in the order of the file.
type Errors []Error

// maxErrors is how many faults are collected: a file of another kind would have thousands.
const maxErrors = 20

// Error returns one line for each.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// add collects a fault.
func (e *Errors) add(where, format string, args ...any) {
	if len(*e) < maxErrors {
		*e = append(*e, Error{Where: where, Text: fmt.Sprintf(format, args...)})
	}
}

// err returns the faults as an error, or nil.
func (e Errors) err() error {
	if len(e) == 0 {
		return nil
	}
	return e
}
