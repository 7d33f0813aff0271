package lab

import (
	"context"
	"net/netip"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newLab makes a lab that the test closes, and checks that nothing of it is left.
func newLab(t *testing.T) *Lab {
	t.Helper()
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(l.Dir()); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", l.Dir(), err)
		}
	})
	return l
}

// within is a context for a step of a test.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func prefixes(s ...string) []netip.Prefix {
	var ps []netip.Prefix
	for _, p := range s {
		ps = append(ps, netip.MustParsePrefix(p))
	}
	return ps
}

// pair is two hosts on one switch: 10.0.0.1 and 10.0.0.2, fd00::1 and fd00::2.
func pair(t *testing.T, opts ...LinkOption) (l *Lab, s *Switch, a, b *Link) {
	t.Helper()
	l = newLab(t)
	s, err := l.Switch("lan")
	if err != nil {
		t.Fatal(err)
	}
	link := func(name, v4, v6 string) *Link {
		h, err := l.Host(name)
		if err != nil {
			t.Fatal(err)
		}
		k, err := l.Link(h, s, prefixes(v4, v6), opts...)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	return l, s, link("a", "10.0.0.1/24", "fd00::1/64"), link("b", "10.0.0.2/24", "fd00::2/64")
}

// ping reports n pings 5 ms apart from a host.
func ping(t *testing.T, from Place, to string, n int) PingReport {
	t.Helper()
	r, err := Ping(within(t, 20*time.Second), from, PingSpec{
		To: netip.MustParseAddr(to), Count: n, Every: 5 * time.Millisecond, Timeout: 500 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("ping %s: %s", to, r)
	return r
}

// reaches waits for an answer: after a cut the kernel first searches for the neighbour anew, once a second.
func reaches(t *testing.T, from Place, to string) {
	t.Helper()
	r, err := Ping(within(t, 20*time.Second), from, PingSpec{
		To: netip.MustParseAddr(to), Count: 500, Every: 20 * time.Millisecond, Stop: 1,
	})
	if err != nil || r.Lost() == r.Sent() {
		t.Errorf("%s is not reached: %s, %v", to, r, err)
	}
}
