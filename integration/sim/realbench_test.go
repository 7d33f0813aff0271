package sim

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/tuntest"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// realBench drives two devices of wireguard-go over memory.
type realBench struct {
	t     *testing.T
	began time.Time
	keys  [2]wgtypes.Key
	devs  [2]*device.Device
	tuns  [2]*tuntest.ChannelTUN
	binds [2]*memoryBind

	mu    sync.Mutex
	at    [2]netip.AddrPort
	deaf  [2]bool
	count [2]int
	sends [2]int
}

func newRealBench(t *testing.T) *realBench {
	b := &realBench{t: t, began: time.Now(), at: outer}
	for i := range b.devs {
		b.keys[i] = wgKey(byte(i))
		b.tuns[i] = tuntest.NewChannelTUN()
		b.binds[i] = &memoryBind{bench: b, end: i}
		b.devs[i] = device.NewDevice(b.tuns[i].TUN(), b.binds[i], &device.Logger{
			Verbosef: func(string, ...any) {}, Errorf: func(f string, a ...any) { t.Logf("end %d: "+f, append([]any{i}, a...)...) },
		})
		b.uapi(i, "private_key="+hex.EncodeToString(b.keys[i][:]))
		if err := b.devs[i].Up(); err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				select {
				case <-b.tuns[i].Inbound:
				case <-b.devs[i].Wait():
					return
				}
				b.mu.Lock()
				b.count[i]++
				b.mu.Unlock()
			}
		}()
	}
	return b
}

func (b *realBench) close() {
	for i := range b.devs {
		b.devs[i].Close()
	}
	synctest.Wait()
}

func (b *realBench) uapi(end int, lines ...string) {
	b.t.Helper()
	if err := b.devs[end].IpcSet(strings.Join(lines, "\n") + "\n"); err != nil {
		b.t.Fatal(err)
	}
	synctest.Wait()
}

func (b *realBench) public(end int) string {
	k := b.keys[end].PublicKey()
	return hex.EncodeToString(k[:])
}

func (b *realBench) peer(end int, c peerChange) {
	key := b.public(1 - end)
	if c.wrongKey {
		k := wgKey(77).PublicKey()
		key = hex.EncodeToString(k[:])
	}
	lines := []string{"public_key=" + key}
	if c.psk != 0 {
		lines = append(lines, "preshared_key="+hex.EncodeToString([]byte{c.psk})+strings.Repeat("00", 31))
	}
	if c.endpoint {
		lines = append(lines, "endpoint="+outer[1-end].String())
	}
	for _, a := range c.allowed {
		lines = append(lines, "allowed_ip="+a.String())
	}
	if c.keepalive != 0 {
		lines = append(lines, fmt.Sprintf("persistent_keepalive_interval=%d", c.keepalive/time.Second))
	}
	b.uapi(end, lines...)
	b.keep(end, key)
}

// kept holds the tunnels of all benches for ever: wireguard-go drains the queues of a tunnel in a finalizer, and those
// run outside the bubble whose channels these are.
var kept []*device.Peer

func (b *realBench) keep(end int, key string) {
	var pub device.NoisePublicKey
	if err := pub.FromHex(key); err != nil {
		b.t.Fatal(err)
	}
	kept = append(kept, b.devs[end].LookupPeer(pub))
}

func (b *realBench) unpeer(end int) { b.uapi(end, "public_key="+b.public(1-end), "remove=true") }

func (b *realBench) move(end int, to netip.AddrPort) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at[end] = to
}

func (b *realBench) blind(end int, deaf bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deaf[end] = deaf
}

func (b *realBench) send(end int, source netip.Addr) {
	b.tuns[end].Outbound <- tuntest.Ping(inner[1-end], source)
	synctest.Wait()
}

func (b *realBench) wait(d time.Duration) {
	<-time.After(d) // virtual: the bubble's clock moves on when everybody waits
	synctest.Wait()
}

func (b *realBench) got(end int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.count[end]
}

func (b *realBench) sent(end int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sends[end]
}

// field reads one value of the only peer from the device's own report.
func (b *realBench) field(end int, name string) string {
	report, err := b.devs[end].IpcGet()
	if err != nil {
		b.t.Fatal(err)
	}
	for line := range strings.Lines(report) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), name+"="); ok {
			return v
		}
	}
	return ""
}

func (b *realBench) endpoint(end int) string { return b.field(end, "endpoint") }

func (b *realBench) shaken(end int) time.Duration {
	var sec, nsec int64
	_, _ = fmt.Sscan(b.field(end, "last_handshake_time_sec"), &sec) // zero when it is not there
	_, _ = fmt.Sscan(b.field(end, "last_handshake_time_nsec"), &nsec)
	if sec == 0 && nsec == 0 {
		return -1
	}
	return time.Unix(sec, nsec).Sub(b.began)
}
