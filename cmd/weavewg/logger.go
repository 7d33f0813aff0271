package main

import (
	"fmt"
	"io"
	"os"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/term"

	"github.com/weavewg/weavewg/config"
)

// newLogger writes to w: readable lines on a terminal, JSON elsewhere, unless the configuration says which.
func newLogger(c config.Log, w io.Writer) (*zap.Logger, zap.AtomicLevel, error) {
	level, err := zap.ParseAtomicLevel(c.Level)
	if err != nil {
		return nil, level, fmt.Errorf("log.level: %w", err)
	}
	encoder := zap.NewProductionEncoderConfig()
	encoder.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	encoder.TimeKey = "time"
	console := c.Format == "console"
	if f, ok := w.(*os.File); ok && c.Format == "auto" {
		console = term.IsTerminal(int(f.Fd()))
	}
	make := zapcore.NewJSONEncoder
	if console {
		encoder.EncodeLevel = zapcore.CapitalLevelEncoder
		make = zapcore.NewConsoleEncoder
	}
	core := zapcore.NewCore(make(encoder), zapcore.Lock(zapcore.AddSync(w)), level)
	return zap.New(core), level, nil
}
