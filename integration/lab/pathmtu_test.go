package lab

import (
	"net/netip"
	"testing"
	"time"
)

// sized reports pings of so many bytes of IP packet.
func sized(t *testing.T, from Place, to string, bytes int) PingReport {
	t.Helper()
	headers := 28
	addr := netip.MustParseAddr(to)
	if addr.Is6() {
		headers = 48
	}
	r, err := Ping(within(t, 20*time.Second), from, PingSpec{
		To: addr, Count: 5, Every: 5 * time.Millisecond, Timeout: 200 * time.Millisecond, Size: bytes - headers,
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestPathMTU(t *testing.T) {
	s := newSite(t)
	ends := []struct {
		from Place
		to   []string
	}{{s.host.Host, []string{"10.2.0.2", "fd02::2"}}, {s.server.Host, []string{"10.1.0.2", "fd01::2"}}}
	each := func(check func(from Place, to string)) {
		for _, e := range ends {
			for _, to := range e.to {
				check(e.from, to)
			}
		}
	}
	undo, err := s.router.PathMTU(1300, true)
	if err != nil {
		t.Fatal(err)
	}
	each(func(from Place, to string) {
		if r := sized(t, from, to, 1300); r.Lost() != 0 {
			t.Errorf("%s: 1300 bytes do not pass: %s", to, r)
		}
		if r := sized(t, from, to, 1301); r.Lost() != 5 {
			t.Errorf("%s: 1301 bytes pass a black hole: %s", to, r)
		}
	})
	if err := undo(); err != nil {
		t.Fatal(err)
	}
	each(func(from Place, to string) {
		if r := sized(t, from, to, 1500); r.Lost() != 0 {
			t.Errorf("%s: undone, and yet 1500 bytes do not pass: %s", to, r)
		}
	})
	// Told, the kernel of the host sends fragments after the first loss at most.
	if undo, err = s.router.PathMTU(1300, false); err != nil {
		t.Fatal(err)
	}
	each(func(from Place, to string) {
		if r := sized(t, from, to, 1400); r.Lost() == 5 {
			t.Errorf("%s: nobody was told: %s", to, r)
		}
	})
	if err := undo(); err != nil {
		t.Fatal(err)
	}
}
