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

// newLogger makes the daemon's logger: console lines on a terminal, JSON otherwise, unless the configuration says.
func newLogger(c config.Log, to zapWriter, stderr io.Writer) (*zap.Logger, zap.AtomicLevel, error) {
	level, err := zap.ParseAtomicLevel(c.Level)
	if err != nil {
		return nil, level, fmt.Errorf("log.level: %w", err)
	}
	terminal := false
	if f, ok := stderr.(*os.File); ok && to == nil {
		terminal = term.IsTerminal(int(f.Fd()))
	}
	if to == nil {
		to = zapcore.AddSync(stderr)
	}
	encoder := zap.NewProductionEncoderConfig()
	encoder.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	encoder.TimeKey = "time"
	form := zapcore.NewJSONEncoder(encoder)
	if c.Format == "console" || c.Format == "auto" && terminal {
		encoder.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		encoder.EncodeLevel = zapcore.CapitalLevelEncoder
		encoder.ConsoleSeparator = "  "
		form = zapcore.NewConsoleEncoder(encoder)
	}
	return zap.New(zapcore.NewCore(form, zapcore.Lock(to), level)), level, nil
}

// maxLog is how large the log of `up -d` grows before it is moved aside, in bytes: it is in run_dir, which is memory.
const maxLog = 4 << 20

// boundedFile writes to a file and keeps it bounded: what is there is copied to FILE.1 and the file begins anew. The
// file must be open for appending, so that crashes of this program land in it too.
type boundedFile struct{ file *os.File }

// Write appends a line.
func (b *boundedFile) Write(line []byte) (int, error) {
	if info, err := b.file.Stat(); err == nil && info.Mode().IsRegular() && info.Size() > maxLog {
		if err := b.rotate(); err != nil {
			return 0, err
		}
	}
	return b.file.Write(line)
}

// Sync does nothing: the file does not outlive the host anyway.
func (b *boundedFile) Sync() error { return nil }

func (b *boundedFile) rotate() error {
	// The descriptor may have another name than the file: the link that the kernel shows is right.
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", b.file.Fd()))
	if err != nil {
		return err
	}
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".1", old, 0o600); err != nil {
		return err
	}
	return b.file.Truncate(0)
}
