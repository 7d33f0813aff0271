package keeper

import (
	"bytes"
	"io"
	"os"
	"sync"
)

// maxLog bounds keeper.log; past it the older half goes.
const maxLog = 1 << 20

// boundedLog appends to a file and keeps it small. The file stays the same, so that descriptors of it (the keeper's
// own standard error) stay right.
type boundedLog struct {
	mu   sync.Mutex
	file *os.File // O_APPEND|O_RDWR
}

// Write implements io.Writer and io.WriteCloser's half; what cannot be written is lost, there being nobody to tell.
func (l *boundedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if info, err := l.file.Stat(); err == nil && info.Size()+int64(len(p)) > maxLog {
		l.halve(info.Size())
	}
	if _, err := l.file.Write(p); err != nil {
		return len(p), nil // a full disk must not end those who write
	}
	return len(p), nil
}

func (l *boundedLog) halve(size int64) {
	tail, err := io.ReadAll(io.NewSectionReader(l.file, size-maxLog/2, maxLog/2))
	if err != nil {
		tail = nil
	}
	if i := bytes.IndexByte(tail, '\n'); i >= 0 {
		tail = tail[i+1:]
	}
	if l.file.Truncate(0) == nil {
		_, _ = l.file.Write(tail) // see Write
	}
}

// lastLine passes writes on and remembers the last whole line, so that an error can quote it.
type lastLine struct {
	to   io.Writer
	mu   sync.Mutex
	line string
}

func (l *lastLine) Write(p []byte) (int, error) {
	l.mu.Lock()
	if lines := bytes.Split(bytes.TrimSpace(p), []byte("\n")); len(lines[len(lines)-1]) > 0 {
		l.line = string(lines[len(lines)-1])
	}
	l.mu.Unlock()
	return l.to.Write(p)
}

func (l *lastLine) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.line
}
