package config

import "fmt"

// Origin says where a value came from.
type Origin struct {
	File   string // of a configuration file; else ""
	Line   int
	Column int
	Name   string // the environment variable or flag; "" with File "" is the default
}

// String returns file:line, the variable, the flag or "default".
func (o Origin) String() string {
	switch {
	case o.File != "":
		return fmt.Sprintf("%s:%d", o.File, o.Line)
	case o.Name != "":
		return o.Name
	}
	return "default"
}

// where is the place for an error: with the column, and empty for a default.
func (o Origin) where() string {
	switch {
	case o.File != "":
		return fmt.Sprintf("%s:%d:%d", o.File, o.Line, o.Column)
	default:
		return o.Name
	}
}

// origins maps a path such as listen.port, peers[0] or networks[1].mtu to where its value came from.
type origins map[string]Origin

// of returns the origin of a path; an element without one of its own has that of its list.
func (o origins) of(path string) Origin {
	if origin, ok := o[path]; ok {
		return origin
	}
	for i := len(path) - 1; i > 0; i-- {
		if path[i] == '[' || path[i] == '.' {
			if origin, ok := o[path[:i]]; ok {
				return origin
			}
		}
	}
	return Origin{}
}

// drop forgets a path and everything below it, when a later source replaces the value.
func (o origins) drop(path string) {
	for p := range o {
		if p == path || len(p) > len(path) && p[:len(path)] == path && (p[len(path)] == '[' || p[len(path)] == '.') {
			delete(o, p)
		}
	}
}
