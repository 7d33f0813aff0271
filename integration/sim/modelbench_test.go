package sim

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// modelBench drives two models.
type modelBench struct {
	clock *clock
	devs  [2]*wireguard
	at    [2]netip.AddrPort
	deaf  [2]bool
	count [2]int
	sends [2]int
}

// oneWay is the delay of the bench's underlay.
const oneWay = 10 * time.Millisecond

func newModelBench() *modelBench {
	b := &modelBench{clock: newClock(), at: outer}
	rng := rand.New(rand.NewPCG(1, 2))
	var indices uint64
	for i := range b.devs {
		b.devs[i] = newWireguard(b.clock, rng, &indices, wgKey(byte(i)))
	}
	for i, d := range b.devs {
		d.send = func(to netip.AddrPort, x datagram) {
			b.sends[i]++
			from := b.at[i]
			if to == b.at[1-i] && !b.deaf[1-i] {
				b.clock.after(oneWay, func() { b.devs[1-i].receive(from, x) })
			}
		}
		d.deliver = func(_ *wgPeer, _, _ netip.Addr, _ any) { b.count[i]++ }
	}
	return b
}

func (b *modelBench) key(end int, c peerChange) wgtypes.Key {
	if c.wrongKey {
		return wgKey(77).PublicKey()
	}
	return b.devs[1-end].public
}

func (b *modelBench) peer(end int, c peerChange) {
	var psk *wgtypes.Key
	if c.psk != 0 {
		psk = &wgtypes.Key{c.psk}
	}
	var to netip.AddrPort
	if c.endpoint {
		to = outer[1-end]
	}
	b.devs[end].set(b.key(end, c), psk, to, c.allowed, c.keepalive)
}

func (b *modelBench) unpeer(end int)                  { b.devs[end].remove(b.devs[1-end].public) }
func (b *modelBench) move(end int, to netip.AddrPort) { b.at[end] = to }
func (b *modelBench) blind(end int, deaf bool)        { b.deaf[end] = deaf }
func (b *modelBench) got(end int) int                 { return b.count[end] }
func (b *modelBench) sent(end int) int                { return b.sends[end] }

func (b *modelBench) send(end int, source netip.Addr) {
	b.devs[end].transmit(packet{source: source, dst: inner[1-end], size: 32, payload: "x"})
}

func (b *modelBench) wait(d time.Duration) {
	for end := b.clock.now.Add(d); b.clock.step(end); {
	}
}

func (b *modelBench) endpoint(end int) string {
	return b.devs[end].peers[b.devs[1-end].public].endpoint.String()
}

func (b *modelBench) shaken(end int) time.Duration {
	p := b.devs[end].peers[b.devs[1-end].public]
	if p.lastHandshake.IsZero() {
		return -1
	}
	return p.lastHandshake.Sub(start)
}
