package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/weavewg/weavewg/config"
)

func TestLogForms(t *testing.T) {
	for format, want := range map[string]string{"auto": `{"level":"info",`, "json": `{"level":"info",`, "console": "  INFO  "} {
		var b bytes.Buffer
		log, level, err := newLogger(config.Log{Level: "info", Format: format}, nil, &b)
		if err != nil {
			t.Fatal(err)
		}
		log.Debug("hidden")
		log.Info("shown", zap.String("evt", "x"))
		if out := b.String(); !strings.Contains(out, want) || strings.Contains(out, "hidden") || !strings.Contains(out, "shown") {
			t.Errorf("%s: %s", format, out)
		}
		level.SetLevel(zap.DebugLevel)
		log.Debug("now")
		if !strings.Contains(b.String(), "now") {
			t.Errorf("%s: the level does not change", format)
		}
	}
	if _, _, err := newLogger(config.Log{Level: "loud"}, nil, &bytes.Buffer{}); err == nil {
		t.Error("a level that is none")
	}
}

func TestTheLogOfADetachedDaemonIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weavewg.log")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := &boundedFile{file: f}
	line := append(bytes.Repeat([]byte("x"), 1<<20-1), '\n')
	for range 12 {
		if _, err := b.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{path, path + ".1"} {
		if info, err := os.Stat(name); err != nil || info.Size() == 0 || info.Size() > maxLog+2<<20 || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}
