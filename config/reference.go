package config

import _ "embed"

// Reference is a configuration file in which every key stands with its default and its meaning.
//
//go:embed reference.yaml
var Reference string
