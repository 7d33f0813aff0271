package doctor

import (
	"errors"
	"os"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestExamine looks at the machine that it runs on, which has what the tests of this project need.
func TestExamine(t *testing.T) {
	before, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	byWhat := map[string]Finding{}
	f := Examine()
	for _, one := range f.Findings {
		if one.What == "" || one.Found == "" || one.State != OK && one.Follows == "" {
			t.Errorf("incomplete: %+v", one)
		}
		if _, twice := byWhat[one.What]; twice {
			t.Errorf("twice: %s", one.What)
		}
		byWhat[one.What] = one
	}
	for _, what := range []string{"kernel", "network namespaces", "IPv6", "bridge", "veth", whatTUN, "AF_PACKET with offload headers", "UDP segmentation (UDP_SEGMENT)", "tc with BPF", "nftables"} {
		if byWhat[what].State != OK {
			t.Errorf("%s: %+v", what, byWhat[what])
		}
	}
	if f.Fatal() {
		t.Errorf("fatal: %+v", f)
	}
	_, err = os.Stat("/sys/module/wireguard")
	if got := byWhat[whatWireGuard].State; (err == nil) != (got == OK) {
		t.Errorf("kernel WireGuard: %s, its module: %v", got, err)
	}
	if after, err := os.Readlink("/proc/thread-self/ns/net"); err != nil || after != before {
		t.Errorf("the namespace of the caller changed from %s to %s, %v", before, after, err)
	}
}

func TestFatal(t *testing.T) {
	lacks := probe{what: "x", lacking: Fatal, lack: "nothing works", remedy: "buy one", try: func() (string, error) { return "", errors.New("gone") }}
	f := Findings{Findings: []Finding{{State: Missing}, lacks.run()}}
	want := Finding{What: "x", State: Fatal, Found: "gone", Follows: "nothing works", Try: "buy one"}
	if !f.Fatal() || f.Findings[1] != want {
		t.Errorf("%+v", f)
	}
	if (Findings{Findings: []Finding{{State: Missing}, {State: Warn}, {State: OK}}}).Fatal() {
		t.Error("what can be done without is fatal")
	}
}

func TestReason(t *testing.T) {
	for err, want := range map[error]string{unix.EOPNOTSUPP: "the kernel has none", unix.EPERM: "not permitted", unix.EBUSY: "device or resource busy"} {
		if got := reason(err).Error(); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}
