package keeper

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestLogStaysSmallAndKeepsTheLatest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	must(t, err)
	defer f.Close()
	l := &boundedLog{file: f}
	line := append(bytes.Repeat([]byte("x"), 999), '\n')
	for range 3 * maxLog / len(line) {
		_, err := l.Write(line)
		must(t, err)
	}
	_, err = l.Write([]byte("the last\n"))
	must(t, err)
	got, err := os.ReadFile(path)
	must(t, err)
	if len(got) > maxLog || len(got) < maxLog/2 || !bytes.HasSuffix(got, []byte("x\nthe last\n")) {
		t.Errorf("%d bytes, ending in %q", len(got), got[len(got)-20:])
	}
	for i, l := range bytes.Split(bytes.TrimSuffix(got, []byte("\nthe last\n")), []byte("\n")) {
		if len(l) != 999 {
			t.Fatalf("line %d is torn: %d bytes", i, len(l))
		}
	}
}

func TestLastLine(t *testing.T) {
	var all bytes.Buffer
	l := &lastLine{to: &all}
	for _, s := range []string{"one\n", "two\nthree\n", "\n"} {
		_, err := l.Write([]byte(s))
		must(t, err)
	}
	if l.String() != "three" || all.String() != "one\ntwo\nthree\n\n" {
		t.Errorf("last line %q of %q", l, all.String())
	}
}
