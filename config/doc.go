// Package config turns bytes into a valid Config: a strict YAML pass whose errors name file, line, column, key and the
// nearest right word, then defaults, environment and flags, then one check of everything that collects all errors.
package config
