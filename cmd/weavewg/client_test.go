package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/weavewg/weavewg/services/api"
)

// TestAnswers has a command line, its exit code and all that it prints.
func TestAnswers(t *testing.T) {
	socket := newStandIn().serve(t)
	for line, want := range map[string]struct {
		code     int
		out, err string
	}{
		"status": {0, `node       alpha in mesh home, ready, up 3m12s
id         a1a1a1a1000000000000000000000000
version    0.1.0
wireguard  userspace: the kernel has none
datapath   pcap
underlay   192.0.2.1, 2001:db8::1 (NAT: none)
overlay    fd12::1
peers      3, 2 up (weavewg peers), 1 control sessions

NETWORK  VNI  SUBNET        MTU   PORTS  MACS  MEMBERS
default  7    10.32.0.0/12  1280  1      2     alpha, beta

TARGET             FROM     STATE      NEXT TRY  REASON
beta.example:6783  config   connected  -         -
192.0.2.9:6783     connect  waiting    in 4s     connection refused

warn: strangers: 14 connections from 198.51.100.9 without our knock (strangers)
  somebody else's mesh
`, ""},
		"status --check live":  {0, "ok\n", ""},
		"status --check ready": {0, "ok\n", ""},
		"status targets": {0, `TARGET             FROM     STATE      NEXT TRY  REASON
beta.example:6783  config   connected  -         -
192.0.2.9:6783     connect  waiting    in 4s     connection refused
`, ""},
		"status dns":       {1, "", "status dns: not yet in this version\n"},
		"status ipam":      {1, "", "status ipam: not yet in this version\n"},
		"status everybody": {2, "", "status: unknown word \"everybody\": peers, connections, targets, dns, ipam\nusage: weavewg status [--json] [--check live|ready]\n"},
		"macs": {0, `NETWORK  MAC                PEER          CARRIED     AGE    MOVES  IPS
default  02:00:00:00:00:01  alpha (here)  bridge      3s     0      10.32.1.1
default  02:00:00:00:00:02  beta          vxlan-pcap  1m10s  1      -
`, ""},
		"macs red": {1, "", "no network \"red\" here: there are default\n"},
		"ps": {0, `NETWORK  KIND       TARGET              INTERFACE  MAC                STATE    ADDRESSES                 REASON
default  container  web (4f2a9d01c3b7)  ethwe      02:00:00:00:00:01  up       10.32.1.1/12, fd00::1/64  -
default  netns      /run/netns/x        ethwe      02:00:00:00:00:03  waiting  -                         no such file
default  host       this host           weavewg0   02:00:00:00:00:04  up       10.32.0.1/12              -
`, ""},
		"keys show": {0, `node      a1a1a1a1000000000000000000000000
identity  aWRlbnRpdHk=

SLOT  INTERFACE      PORT  GENERATION  AGE   TUNNELS  PUBLIC KEY
0     wg-a1a1a1a1-0  6783  1           2h1m  2        cHVibGlj
`, ""},
		"ping beta -n 2": {0, `beta: seq 1 in 0.71 ms (direct 192.0.2.2:6783)
beta: seq 2 in 0.71 ms (direct 192.0.2.2:6783)
2 sent, 2 answered
`, ""},
		"ping c1c1c1 --count 1":                  {1, "gamma: seq 1 lost (no path)\n1 sent, 0 answered\n", "c1c1c1 does not answer through its tunnel\n"},
		"ping gamma":                             {2, "", "\"gamma\" is ambiguous, use more of the id:\n  " + idGamma1 + " gamma\n  " + idGamma2 + " gamma\n"},
		"ping delta":                             {1, "", "no peer \"delta\": weavewg peers lists them\n"},
		"ping alpha":                             {2, "", "alpha is this node itself\n"},
		"connect delta [2001:db8::9]:7":          {0, "dialling delta:6783\ndialling [2001:db8::9]:7\n", ""},
		"forget 192.0.2.9":                       {0, "forgot 192.0.2.9\n", ""},
		"forget beta.example":                    {1, "", "/etc/weavewg/weavewg.yaml:9: beta.example:6783 is in the configuration: remove it there and run weavewg config reload\n"},
		"forget beta":                            {1, "", "beta is connected: only an absent node can be forgotten\n"},
		"forget gamma":                           {2, "", "\"gamma\" is ambiguous, use more of the id:\n  " + idGamma1 + " gamma\n  " + idGamma2 + " gamma\n"},
		"forget delta":                           {1, "", "delta is neither a target nor a node: weavewg status and weavewg peers list them\n"},
		"rmpeer c1c1c1":                          {0, "forgot c1c1c1\n", ""},
		"attach web 10.32.1.5/12 fd00::5/64":     {0, "ethwe 02:00:00:00:00:09 10.32.1.5/12 fd00::5/64\n", ""},
		"attach 12 none --network red --as lan0": {0, "ethwe 02:00:00:00:00:09 none\n", ""},
		"detach web":                             {0, "", ""},
		"detach nobody":                          {1, "", "nobody is not attached\n"},
		"expose 10.32.0.9/12":                    {0, "weavewg0 02:00:00:00:00:08 10.32.0.9/12\n", ""},
		"hide":                                   {0, "", ""},
		"config reload":                          {0, "applied: peers, log.level\n", ""},
		"wait --for ready":                       {0, "", ""},
		"wait --for peer=beta":                   {0, "", ""},
		"wait --for peer=gamma":                  {2, "", "\"gamma\" is ambiguous, use more of the id:\n  " + idGamma1 + " gamma\n  " + idGamma2 + " gamma\n"},
		"wait --for peer=c1c1c1 --timeout 50ms":  {1, "", "peer=c1c1c1: not in 50ms: gamma is down: not reachable directly, and no common peer relays\n"},
		"wait --for peer=delta --timeout 50ms":   {1, "", "peer=delta: not in 50ms: no peer \"delta\": weavewg peers lists them\n"},
	} {
		t.Run(line, func(t *testing.T) {
			code, out, errOut := typed(t, socket, line)
			if code != want.code {
				t.Errorf("exit code %d, want %d", code, want.code)
			}
			if d := cmp.Diff(want.out, out); d != "" {
				t.Errorf("output (-want +got):\n%s", d)
			}
			if d := cmp.Diff(want.err, errOut); d != "" {
				t.Errorf("errors (-want +got):\n%s", d)
			}
		})
	}
}

func TestPeersTable(t *testing.T) {
	var b bytes.Buffer
	if err := writePeers(&b, newStandIn().status.Peers, noon); err != nil {
		t.Fatal(err)
	}
	want := `NAME   ID        STATE  PATH            ENDPOINT        RTT      LOSS  MTU   HANDSHAKE  RX     TX     REASON
beta   b1b1b1b1  up     direct          192.0.2.2:6783  0.71 ms  2%    1350  1m15s      12 MB  999 B  -
gamma  c1c1c1c1  down   -               -               -        -     -     -          0 B    0 B    not reachable directly, and no common peer relays
gamma  c1c1c2c2  up     relay via beta  -               132 ms   0%    -     -          0 B    0 B    UDP 6783 is blocked
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
}

func TestDegraded(t *testing.T) {
	l := newStandIn()
	l.status.Problems = append(l.status.Problems, api.Problem{Code: "state-write", Severity: "error", Message: "no space left"})
	l.status.Ready = false
	socket := l.serve(t)
	for line, want := range map[string]struct {
		code int
		err  string
	}{
		"status --check live":  {4, "state-write: no space left\n"},
		"status --check ready": {4, "not ready: the datapath is not built yet\nstate-write: no space left\n"},
		"status":               {0, ""},
	} {
		if code, _, errOut := typed(t, socket, line); code != want.code || errOut != want.err {
			t.Errorf("%s: %d, %s", line, code, errOut)
		}
	}
	code, out, _ := typed(t, socket, "status --json --check ready")
	var s api.Status
	if err := json.Unmarshal([]byte(out), &s); err != nil || code != 4 || s.Schema != api.StatusSchema {
		t.Errorf("with --json: %d, %v", code, err)
	}
}

// TestJSON wants one document with its schema from every command that reads.
func TestJSON(t *testing.T) {
	socket := newStandIn().serve(t)
	for line, schema := range map[string]string{
		"status --json": api.StatusSchema, "peers --json": api.PeersSchema, "status peers --json": api.PeersSchema, "macs --json": api.MACsSchema,
		"ps --json": api.PortsSchema, "keys show --json": api.KeysSchema, "report": api.ReportSchema, "ping beta -n 1 --json": api.PingSchema,
	} {
		code, out, errOut := typed(t, socket, line)
		var v struct {
			Schema string `json:"schema"`
		}
		if err := json.Unmarshal([]byte(out), &v); err != nil || code != 0 || v.Schema != schema {
			t.Errorf("%s: %d, schema %q, %v\n%s", line, code, v.Schema, err, errOut)
		}
	}
}

func TestRequests(t *testing.T) {
	l := newStandIn()
	socket := l.serve(t)
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"attach ./x/ns none --network red --as lan0", "detach web 10.32.1.5/12 --network red", "expose 10.32.0.1/12 --network red", "hide 10.32.0.1/12"} {
		if code, _, errOut := typed(t, socket, line); code != 0 {
			t.Errorf("%s: %d, %s", line, code, errOut)
		}
	}
	if d := cmp.Diff([]api.AttachRequest{{Target: filepath.Join(here, "x", "ns"), Network: "red", Interface: "lan0", Addresses: []string{"none"}}}, l.attached); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]api.DetachRequest{{Target: "web", Network: "red", Addresses: []string{"10.32.1.5/12"}}}, l.detached); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]api.ExposeRequest{{Network: "red", Addresses: []string{"10.32.0.1/12"}}, {Addresses: []string{"10.32.0.1/12"}}}, l.exposed); d != "" {
		t.Error(d)
	}
}

func TestCapture(t *testing.T) {
	socket := newStandIn().serve(t)
	code, out, errOut := typed(t, socket, "capture --count 2")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != 0 || len(lines) != 3 || !strings.Contains(lines[0], " default port: broadcast to 1 (beta) | ") || lines[1] != "(1 frames missed)" {
		t.Errorf("%d, %s%s", code, out, errOut)
	}
	if !strings.Contains(lines[0], "10.32.1.2") {
		t.Errorf("the frame is not described: %s", lines[0])
	}
	file := filepath.Join(t.TempDir(), "frames.pcapng")
	if code, _, errOut := typed(t, socket, "capture default --count 2 -w "+file); code != 0 {
		t.Fatalf("%d, %s", code, errOut)
	}
	code, out, _ = typed(t, socket, "capture --count 1 -w -")
	if code != 0 {
		t.Error(code)
	}
	for name, want := range map[string]int{file: 2, out: 1} {
		data := []byte(name)
		if name == file {
			var err error
			if data, err = os.ReadFile(file); err != nil {
				t.Fatal(err)
			}
		}
		r, err := pcapgo.NewNgReader(bytes.NewReader(data), pcapgo.DefaultNgReaderOptions)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for {
			frame, info, err := r.ReadPacketData()
			if err != nil {
				break
			}
			if n++; len(frame) != 42 || !info.Timestamp.Equal(noon) {
				t.Errorf("frame of %d bytes at %v", len(frame), info.Timestamp)
			}
		}
		if n != want {
			t.Errorf("%d frames in the file, want %d", n, want)
		}
	}
}

// TestRun goes through a docker command that only writes down how it is called.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	calls := filepath.Join(dir, "calls")
	script := "#!/bin/sh\necho \"$@\" >>" + calls + "\n[ \"$1\" = create ] && echo 4f2a9d01c3b7\nexit 0\n"
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	l := newStandIn()
	socket := l.serve(t)
	code, out, errOut := typed(t, socket, "run 10.32.1.7/12 --network red -- -dit --name web -p 80:80 busybox httpd -d")
	if code != 0 || out != "4f2a9d01c3b7\n" {
		t.Errorf("%d, %s%s", code, out, errOut)
	}
	if d := cmp.Diff([]api.AttachRequest{{Target: "4f2a9d01c3b7", Network: "red", Addresses: []string{"10.32.1.7/12"}}}, l.attached); d != "" {
		t.Error(d)
	}
	l.refuse = errors.New("no room")
	if code, out, errOut := typed(t, socket, "run none -- busybox"); code != 1 || out != "" || errOut != "no room\n" {
		t.Errorf("%d, %s%s", code, out, errOut)
	}
	made, err := os.ReadFile(calls)
	want := "create -it --name web -p 80:80 busybox httpd -d\nstart 4f2a9d01c3b7\ncreate busybox\nstart 4f2a9d01c3b7\nrm --force 4f2a9d01c3b7\n"
	if err != nil || string(made) != want {
		t.Errorf("docker was called:\n%s%v", made, err)
	}
	t.Setenv("PATH", "/nowhere")
	if code, _, errOut := typed(t, socket, "run none -- busybox"); code != 1 || errOut != "there is no docker command here\n" {
		t.Errorf("without docker: %d, %s", code, errOut)
	}
}

func TestCreateArguments(t *testing.T) {
	for run, want := range map[string]string{
		"busybox":                                   "busybox",
		"-d busybox sleep 9":                        "busybox sleep 9",
		"--detach=true --rm busybox":                "--rm busybox",
		"-d=false busybox":                          "busybox",
		"-itd --name web busybox sh -d":             "-it --name web busybox sh -d",
		"--name=web --detach -e A=-d busybox":       "--name=web -e A=-d busybox",
		"-eA=1 -dp80:80 -h box busybox":             "-eA=1 -p80:80 -h box busybox",
		"--sig-proxy=false --detach-keys x busybox": "busybox",
		"--privileged -v /a:/b --read-only busybox": "--privileged -v /a:/b --read-only busybox",
		"--label -d --env --rm busybox":             "--label -d --env --rm busybox",
		"-- busybox -d":                             "-- busybox -d",
		"--init -- busybox":                         "--init -- busybox",
	} {
		got, err := createArguments(strings.Fields(run))
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: %s, %v; want %s", run, strings.Join(got, " "), err, want)
		}
	}
	for _, run := range []string{"", "-d", "--name web", "--", "-p"} {
		if got, err := createArguments(strings.Fields(run)); err == nil {
			t.Errorf("%q: %v", run, got)
		}
	}
}

func TestNotPermitted(t *testing.T) {
	if code := exitCode(errors.Join(os.ErrPermission)); code != 5 {
		t.Errorf("permission: %d", code)
	}
	if code := exitCode(mustNot()); code != 5 {
		t.Errorf("root: %d", code)
	}
}

func mustNot() error { return errors.Join(errNotRoot) }

func TestTexts(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 9949: "9.9 kB", 12_345: "12 kB", 999_499: "999 kB", 999_500: "1.0 MB", 5_000_000_000: "5.0 GB"} {
		if got := bytesText(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
	for s, want := range map[float64]string{-3: "0s", 0.4: "0s", 42: "42s", 59.7: "1m0s", 3661: "1h1m", 200_000: "2d7h"} {
		if got := secondsText(s); got != want {
			t.Errorf("%v s: %s, want %s", s, got, want)
		}
	}
}
