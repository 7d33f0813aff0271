package capture

import (
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// Recorder writes frames as pcapng (IETF draft-ietf-opsawg-pcapng), one interface a network, with a comment each that
// wireshark shows and filters by (frame.comment).
type Recorder struct {
	w          *pcapgo.NgWriter
	interfaces map[string]int
}

// NewRecorder writes the file's header, naming the program and its first network.
func NewRecorder(w io.Writer, program, network string) (*Recorder, error) {
	ng, err := pcapgo.NewNgWriterInterface(w, face(network), pcapgo.NgWriterOptions{
		SectionInfo: pcapgo.NgSectionInfo{Hardware: runtime.GOARCH, OS: runtime.GOOS, Application: program},
	})
	if err != nil {
		return nil, fmt.Errorf("write capture: %w", err)
	}
	return &Recorder{w: ng, interfaces: map[string]int{network: 0}}, nil
}

func face(network string) pcapgo.NgInterface {
	return pcapgo.NgInterface{Name: network, LinkType: layers.LinkTypeEthernet, TimestampResolution: 9}
}

// Record appends one frame.
func (r *Recorder) Record(network string, at time.Time, frame []byte, comment string) error {
	id, ok := r.interfaces[network]
	if !ok {
		var err error
		if id, err = r.w.AddInterface(face(network)); err != nil {
			return fmt.Errorf("write capture: %w", err)
		}
		r.interfaces[network] = id
	}
	info := gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(frame), Length: len(frame), InterfaceIndex: id}
	if err := r.w.WritePacketWithOptions(info, frame, pcapgo.NgPacketOptions{Comments: []string{comment}}); err != nil {
		return fmt.Errorf("write capture: %w", err)
	}
	return nil
}

// Flush hands what was recorded to the file.
func (r *Recorder) Flush() error {
	if err := r.w.Flush(); err != nil {
		return fmt.Errorf("write capture: %w", err)
	}
	return nil
}
