package bench

import (
	"strings"
	"testing"
	"time"
)

func TestBusyLeavesIdleOut(t *testing.T) {
	got, err := busy("cpu  100 1 20 9999 8888 3 4 2 50 0\ncpu0 …\n")
	if err != nil || got != 128*tick {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"", "intr 1 2 3 4 5 6 7 8\n", "cpu 1 2\n", "cpu a b c d e f g h\n"} {
		if _, err := busy(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestReadIperf(t *testing.T) {
	// The omitted second is in intervals and not in end, as iperf3 3.12 has it.
	const report = `{"intervals":[{"sum":{"bytes":536870912,"omitted":true}},{"sum":{"bytes":536870912}}],
		"end":{"sum_sent":{"retransmits":7},"sum_received":{"bits_per_second":4e9}}}`
	got, err := readIperf([]byte(report), 3*time.Second)
	if err != nil || got != (TCP{Mbits: 4000, CPUPerGiB: 3, Retransmits: 7}) {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, bad := range []string{"", "{}", `{"error":"unable to connect"}`} {
		if _, err := readIperf([]byte(bad), time.Second); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestSNMPCounter(t *testing.T) {
	const text = "Ip: Forwarding FragCreates\nIp: 2 41\nIcmp: InMsgs\nIcmp: 5\n"
	if got, err := snmpCounter(text, "Ip", "FragCreates"); err != nil || got != 41 {
		t.Errorf("got %d, %v", got, err)
	}
	for _, bad := range []string{"", "Ip: Forwarding FragCreates\n", strings.ReplaceAll(text, "FragCreates", "Frag")} {
		if _, err := snmpCounter(bad, "Ip", "FragCreates"); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestOffloadsAreWhatJoinsAndCuts(t *testing.T) {
	for name, want := range map[string]bool{
		"tx-tcp-segmentation": true, "tx-udp-segmentation": true, "tx-generic-segmentation": true, "rx-gro": true,
		"tx-checksum-ip-generic": false, "rx-checksum": false, "highdma": false,
	} {
		if got := offload(name); got != want {
			t.Errorf("offload(%q) = %v", name, got)
		}
	}
}
