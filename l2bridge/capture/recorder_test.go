package capture

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"
)

func TestRecorder(t *testing.T) {
	var file bytes.Buffer
	r, err := NewRecorder(&file, "weavewg test", "default")
	ok(t, err)
	at := time.Unix(1_700_000_000, 123456789)
	long := ethernet(65000, 0x0800).Data
	ok(t, r.Record("default", at, ethernet(61, 0x88b5).Data, "out, broadcast, to beta"))
	ok(t, r.Record("blue", at.Add(time.Second), long, "in from beta"))
	ok(t, r.Flush())
	in, err := pcapgo.NewNgReader(&file, pcapgo.DefaultNgReaderOptions)
	ok(t, err)
	for i, want := range []struct {
		network, comment string
		length           int
		at               time.Time
	}{{"default", "out, broadcast, to beta", 61, at}, {"blue", "in from beta", 65000, at.Add(time.Second)}} {
		data, info, options, err := in.ReadPacketDataWithOptions()
		ok(t, err)
		face, err := in.Interface(info.InterfaceIndex)
		ok(t, err)
		if len(data) != want.length || face.Name != want.network || !info.Timestamp.Equal(want.at) ||
			len(options.Comments) != 1 || options.Comments[0] != want.comment {
			t.Errorf("frame %d: %d bytes, %q, %v, %v", i, len(data), face.Name, info.Timestamp, options.Comments)
		}
	}
	broken, err := NewRecorder(full{}, "weavewg test", "default")
	if err == nil {
		err = errors.Join(broken.Record("default", at, long, ""), broken.Flush())
	}
	if !errors.Is(err, errFull) {
		t.Errorf("a full disk is not told: %v", err)
	}
}

var errFull = errors.New("no space left on device")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }
