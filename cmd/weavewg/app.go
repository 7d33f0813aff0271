package main

import (
	"encoding/json"
	"io"
	"os"

	"github.com/weavewg/weavewg/config"
	"github.com/weavewg/weavewg/services/api"
)

// app is what the commands share.
type app struct {
	in       io.Reader
	out, err io.Writer

	configFile string // -c
	socket     string // --socket
}

// load reads the configuration, with the flags that a command defined by config.Flags.
func (a *app) load(s config.Sources) (*config.Config, error) {
	s.Environ = os.Environ()
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	s.Hostname = host
	return config.Load(a.configFile, s)
}

// client returns a client of the daemon: at --socket, in the run_dir of -c FILE, or at the standard place. A faulty
// configuration at the standard place keeps nobody from asking the daemon that runs.
func (a *app) client() (*api.Client, error) {
	if a.socket != "" {
		return api.NewClient(a.socket), nil
	}
	c, err := a.load(config.Sources{})
	if err == nil {
		return api.NewClient(config.Socket(c.RunDir)), nil
	}
	if a.configFile != "" {
		return nil, err
	}
	return api.NewClient(config.Socket(config.DefaultRunDir)), nil
}

// printJSON writes one indented JSON document.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
