package topology

import (
	"crypto/ecdh"
	"crypto/rand"
	"net/netip"
	"strings"
	"testing"
)

func validRecord() *Record {
	return &Record{
		Key: [32]byte{1}, Version: Version{1, 1}, Name: "alpha", Software: "0.1", Port: 6783, MTU: 1420,
		Addrs:    []netip.Addr{netip.MustParseAddr("192.0.2.1")},
		Seen:     []Endpoint{{0, netip.MustParseAddrPort("[2001:db8::1]:6783")}},
		Slots:    []SlotKey{{0, 1, [32]byte{9}, 6783}, {1, 1, [32]byte{8}, 6784}},
		Networks: []NetworkRef{{"default", 1}, {"other", MaxVNI}},
		Edges:    []Edge{{NodeID{5}, 3}},
	}
}

func TestValidate(t *testing.T) {
	if err := validRecord().Validate(); err != nil {
		t.Fatal(err)
	}
	self := validRecord().ID()
	addr := func(s string) func(*Record) {
		return func(r *Record) { r.Addrs = append(r.Addrs, netip.MustParseAddr(s)) }
	}
	for _, c := range []struct {
		name  string
		spoil func(*Record)
		want  string
	}{
		{"zero identity", func(r *Record) { r.Key = [32]byte{} }, "identity key is zero"},
		{"epoch of 2^63", func(r *Record) { r.Version.Epoch += 1 << 63 }, "beyond what a node can reach"},
		{"version of 2^63", func(r *Record) { r.Version.Seq += 1 << 63 }, "beyond what a node can reach"},
		{"no name", func(r *Record) { r.Name = "" }, "name: is empty"},
		{"long name", func(r *Record) { r.Name = strings.Repeat("x", 64) }, "64 bytes"},
		{"control character", func(r *Record) { r.Name = "a\x1b[31m" }, "unprintable U+001B"},
		{"bidi override", func(r *Record) { r.Name = "a\u202eb" }, "unprintable U+202E"},
		{"bad UTF-8", func(r *Record) { r.Name = "a\xff" }, "not UTF-8"},
		{"bad software", func(r *Record) { r.Software = "1\n2" }, "software"},
		{"port 0", func(r *Record) { r.Port = 0 }, "port is 0"},
		{"small MTU", func(r *Record) { r.MTU = 1279 }, "below 1280"},
		{"13 addresses", func(r *Record) { r.Addrs = slicesOf(13, netip.MustParseAddr("192.0.2.1")) }, "13 addresses"},
		{"no address", func(r *Record) { r.Addrs = []netip.Addr{{}} }, "unspecified"},
		{"0.0.0.0", addr("0.0.0.0"), "unspecified"},
		{"::", addr("::"), "unspecified"},
		{"loopback", addr("127.8.0.1"), "loopback"},
		{"loopback 6", addr("::1"), "loopback"},
		{"multicast", addr("224.0.0.1"), "multicast"},
		{"multicast 6", addr("ff02::1"), "multicast"},
		{"broadcast", addr("255.255.255.255"), "broadcast"},
		{"link-local", addr("169.254.1.1"), "link-local"},
		{"link-local 6", addr("fe80::1"), "link-local"},
		{"zone", addr("2001:db8::1%eth0"), "zone"},
		{"mapped", addr("::ffff:192.0.2.1"), "IPv4 inside IPv6"},
		{"13 seen", func(r *Record) { r.Seen = slicesOf(13, r.Seen[0]) }, "13 observed"},
		{"seen slot", func(r *Record) { r.Seen[0].Slot = 3 }, "slot 3"},
		{"seen port", func(r *Record) { r.Seen[0].Addr = netip.MustParseAddrPort("192.0.2.1:0") }, "port 0"},
		{"four slots", func(r *Record) { r.Slots = slicesOf(4, r.Slots[0]) }, "4 slots"},
		{"slot 3", func(r *Record) { r.Slots[0].Slot = 3 }, "slot 3"},
		{"slot twice", func(r *Record) { r.Slots[1].Slot = 0 }, "share"},
		{"key twice", func(r *Record) { r.Slots[1].Key = r.Slots[0].Key }, "share"},
		{"port twice", func(r *Record) { r.Slots[1].Port = 6783 }, "share"},
		{"slot port 0", func(r *Record) { r.Slots[1].Port = 0 }, "port 0"},
		{"zero key", func(r *Record) { r.Slots[0].Key = [32]byte{} }, "key is zero"},
		{"low order key", func(r *Record) { r.Slots[0].Key = [32]byte{1} }, "low-order"},
		{"33 networks", func(r *Record) { r.Networks = slicesOf(33, r.Networks[0]) }, "33 networks"},
		{"VNI 0", func(r *Record) { r.Networks[0].VNI = 0 }, "VNI 0"},
		{"VNI 2^24", func(r *Record) { r.Networks[0].VNI = 1 << 24 }, "VNI 16777216"},
		{"VNI twice", func(r *Record) { r.Networks[0].VNI = MaxVNI }, "share"},
		{"network twice", func(r *Record) { r.Networks[0].Name = "other" }, "share"},
		{"unnamed network", func(r *Record) { r.Networks[0].Name = "" }, "network name"},
		{"17 edges", func(r *Record) { r.Edges = slicesOf(17, r.Edges[0]) }, "17 edges"},
		{"edge to itself", func(r *Record) { r.Edges[0].Peer = self }, "itself"},
		{"edge to nobody", func(r *Record) { r.Edges[0].Peer = NodeID{} }, "nobody"},
		{"edge twice", func(r *Record) { r.Edges = slicesOf(2, r.Edges[0]) }, "two edges"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := validRecord()
			c.spoil(r)
			err := r.Validate()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("says %v, want something with %q", err, c.want)
			}
			if _, err := EncodeRecord(r); err == nil {
				t.Fatal("encoded")
			}
			b, err := encMode.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := DecodeRecord(b); err == nil {
				t.Fatal("decoded")
			}
		})
	}
}

func TestEncodeRecordTooLarge(t *testing.T) {
	r := validRecord()
	r.Networks = nil
	for i := range MaxNetworks {
		r.Networks = append(r.Networks, NetworkRef{strings.Repeat(string(rune('A'+i)), MaxName), uint32(i + 1)})
	}
	if _, err := EncodeRecord(r); err == nil || !strings.Contains(err.Error(), "at most 2048") {
		t.Fatalf("got %v", err)
	}
}

// The table of low-order points is right: X25519 itself refuses each, and nothing that it takes is refused here.
func TestLowOrder(t *testing.T) {
	mine, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(key [32]byte) bool {
		pub, err := ecdh.X25519().NewPublicKey(key[:])
		if err != nil {
			t.Fatal(err)
		}
		_, err = mine.ECDH(pub)
		return err != nil
	}
	for key := range lowOrder {
		for _, top := range []byte{0, 0x80} {
			key[31] |= top
			if !refused(key) || CheckSlotKey(key) == nil {
				t.Errorf("%x: X25519 refuses it: %v, CheckSlotKey: %v", key, refused(key), CheckSlotKey(key))
			}
		}
	}
	for i := range 256 {
		for _, key := range [][32]byte{{byte(i)}, {31: byte(i)}, {0xec, 31: byte(i)}} {
			if refused(key) != (CheckSlotKey(key) != nil) {
				t.Errorf("%x: X25519 refuses it: %v, CheckSlotKey: %v", key, refused(key), CheckSlotKey(key))
			}
		}
	}
}
