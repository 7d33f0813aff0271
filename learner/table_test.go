package learner

import (
	"net/netip"
	"testing"
	"time"

	"github.com/weavewg/weavewg/topology"
)

var (
	start = time.Unix(1_000_000, 0)
	alpha = topology.NodeID{1}
	beta  = topology.NodeID{2}
	mac1  = MAC{2, 0, 0, 0, 0, 1}
	mac2  = MAC{2, 0, 0, 0, 0, 2}
	mac3  = MAC{2, 0, 0, 0, 0, 3}
)

func owner(t *testing.T, table *Table, now time.Time, mac MAC) topology.NodeID {
	t.Helper()
	o, ok := table.Lookup(now, mac)
	if !ok {
		t.Fatalf("%s is not known", mac)
	}
	return o
}

func TestLocalSightWinsAtOnce(t *testing.T) {
	table := New(Limits{})
	if got := table.Learn(start, mac1, alpha); got != Learned {
		t.Fatalf("first sight: %v", got)
	}
	if got := table.Learn(start, mac1, Local); got != Moved {
		t.Fatalf("local sight: %v", got)
	}
	if owner(t, table, start, mac1) != Local {
		t.Fatal("the local sight did not win")
	}
}

func TestRemoteClaimMovesALocalMAC(t *testing.T) {
	table := New(Limits{})
	table.Learn(start, mac1, Local)
	if got := table.Learn(start.Add(time.Second), mac1, beta); got != Moved || owner(t, table, start, mac1) != beta {
		t.Fatalf("a station that migrated away stays local: %v", got)
	}
	if f := table.Counters().Flapped; f != 0 {
		t.Fatalf("one move counts as flapping: %d", f)
	}
	table.Learn(start.Add(2*time.Second), mac1, Local)
	if c := table.Counters(); c.Moved != 2 || c.Flapped != 1 {
		t.Fatalf("a second move within a second: %+v", c)
	}
	table.Learn(start.Add(3*time.Second+FlapWindow), mac1, beta)
	if c := table.Counters(); c.Moved != 3 || c.Flapped != 1 {
		t.Fatalf("a move after the window: %+v", c)
	}
	if e := table.Entries(start.Add(14 * time.Second)); len(e) != 1 || e[0].Moves != 3 {
		t.Fatalf("entries: %+v", e)
	}
}

func TestRefreshIsWrittenAfterATenthOfTheAge(t *testing.T) {
	table := New(Limits{Age: 100 * time.Second})
	table.Learn(start, mac1, alpha)
	table.Learn(start.Add(9*time.Second), mac1, alpha)
	if e := table.Entries(start.Add(9 * time.Second)); !e[0].Seen.Equal(start) {
		t.Fatalf("written after 9 s: %v", e[0].Seen)
	}
	table.Learn(start.Add(10*time.Second), mac1, alpha)
	if e := table.Entries(start.Add(10 * time.Second)); !e[0].Seen.Equal(start.Add(10 * time.Second)) {
		t.Fatalf("not written after 10 s: %v", e[0].Seen)
	}
	if _, ok := table.Lookup(start.Add(109*time.Second), mac1); !ok {
		t.Fatal("forgotten before its age")
	}
	if _, ok := table.Lookup(start.Add(110*time.Second), mac1); ok {
		t.Fatal("believed after its age")
	}
	if n := table.Expire(start.Add(110 * time.Second)); n != 1 || table.Len() != 0 {
		t.Fatalf("expired %d, left %d", n, table.Len())
	}
}

func TestNoStationHasAGroupOrZeroAddress(t *testing.T) {
	table := New(Limits{})
	for _, m := range []MAC{{}, Broadcast, {1, 0, 0x5e, 0, 0, 1}} {
		if got := table.Learn(start, m, alpha); got != Refused {
			t.Errorf("%s: %v", m, got)
		}
	}
	if table.Len() != 0 || table.Counters().Refused != 3 {
		t.Errorf("%d entries, %+v", table.Len(), table.Counters())
	}
}

func TestQuotaEvictsOnlyTheOwnersOldest(t *testing.T) {
	table := New(Limits{PerOwner: 2})
	table.Learn(start, mac1, beta)
	for i := range 100 {
		table.Learn(start.Add(time.Duration(i)*time.Second), MAC{2, 1, 0, 0, 0, byte(i)}, alpha)
	}
	if table.Len() != 3 || owner(t, table, start, mac1) != beta {
		t.Fatalf("%d entries, want beta's one and alpha's last two", table.Len())
	}
	if _, ok := table.Lookup(start.Add(100*time.Second), MAC{2, 1, 0, 0, 0, 98}); !ok {
		t.Fatal("alpha's last but one is gone")
	}
	full := New(Limits{Total: 2})
	full.Learn(start, mac1, alpha)
	full.Learn(start, mac2, alpha)
	if got := full.Learn(start, mac3, beta); got != Refused {
		t.Fatalf("a full table took beta's first: %v", got)
	}
	if got := full.Learn(start, mac3, alpha); got != Learned || full.Len() != 2 {
		t.Fatalf("alpha's third: %v, %d entries", got, full.Len())
	}
	if _, ok := full.Lookup(start, mac1); ok {
		t.Fatal("alpha's oldest was not the one to go")
	}
}

func TestDropPeer(t *testing.T) {
	table := New(Limits{})
	table.Learn(start, mac1, alpha)
	table.Learn(start, mac2, alpha)
	table.Learn(start, mac3, Local)
	if n := table.DropPeer(alpha); n != 2 || table.Len() != 1 {
		t.Fatalf("dropped %d, left %d", n, table.Len())
	}
	if n := table.DropPeer(alpha); n != 0 {
		t.Fatalf("dropped %d more", n)
	}
	if !table.Forget(mac3) || table.Forget(mac3) {
		t.Fatal("Forget")
	}
}

func TestBindingsAreBoundedAndMostRecentFirst(t *testing.T) {
	table := New(Limits{})
	table.Bind(start, mac1, netip.MustParseAddr("10.0.0.1"), FromARP)
	if table.Len() != 0 {
		t.Fatal("an unknown MAC got an entry by its IP address")
	}
	table.Learn(start, mac1, alpha)
	for i := range 3 * MaxIPs {
		table.Bind(start, mac1, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), FromARP)
	}
	first := netip.AddrFrom4([4]byte{10, 0, 0, 3*MaxIPs - 2})
	table.Bind(start.Add(time.Second), mac1, first, FromDHCP)
	for _, no := range []string{"0.0.0.0", "::", "ff02::1", "224.0.0.1"} {
		table.Bind(start, mac1, netip.MustParseAddr(no), FromND)
	}
	table.Bind(start, mac1, netip.Addr{}, FromND)
	ips := table.Entries(start)[0].IPs
	if len(ips) != MaxIPs || ips[0].IP != first || ips[0].From.String() != "dhcp" {
		t.Fatalf("%d addresses, first %v", len(ips), ips[0])
	}
	seen := map[netip.Addr]bool{}
	for _, b := range ips {
		if seen[b.IP] {
			t.Fatalf("%v twice", b.IP)
		}
		seen[b.IP] = true
	}
}

func TestASteadyFlowAllocatesNothing(t *testing.T) {
	table := New(Limits{})
	table.Learn(start, mac1, alpha)
	if n := testing.AllocsPerRun(100, func() {
		table.Learn(start, mac1, alpha)
		table.Lookup(start, mac1)
	}); n != 0 {
		t.Fatalf("%v allocations a frame", n)
	}
}

func TestParseMAC(t *testing.T) {
	m, err := ParseMAC("02:42:0a:20:00:01")
	if err != nil || m.String() != "02:42:0a:20:00:01" || m.Group() || m.IsZero() {
		t.Fatalf("%v, %v", m, err)
	}
	for _, bad := range []string{"", "02:42:0a:20:00", "02:42:0a:20:00:01:02:03", "zz:42:0a:20:00:01"} {
		if _, err := ParseMAC(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
