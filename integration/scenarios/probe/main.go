// Command probe makes and takes the traffic of scenarios on whatever machine they run: in a namespace, behind SSH, in
// a QEMU guest. It needs nothing installed, and answers in JSON on one line.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/weavewg/weavewg/integration/lab"
)

// The main goroutine stays on the main thread: /proc/PID/ns/net is that thread's namespace (see hold).
func init() { runtime.LockOSThread() }

// verb is one thing that the probe can do.
type verb struct {
	usage string
	run   func(ctx context.Context, at lab.Place, args []string) (answer any, err error)
}

var verbs = map[string]verb{
	"hold":     {"                                  make a namespace and hold it until a signal", hold},
	"exec":     {"PROGRAM ARG…                      run a program in the namespace", execute},
	"ping":     {"ADDR [-count] [-every] [-stop]    echo requests until a signal or the count", ping},
	"arp":      {"IFACE FROM TARGET                 who has TARGET", arp},
	"announce": {"IFACE MAC ADDR                    gratuitous ARP", announce},
	"sink":     {"ADDR:PORT                         take TCP transfers until a signal", sink},
	"send":     {"ADDR:PORT BYTES [MARKER]          TCP transfer to a sink", send},
	"hear":     {"IFACE PORT CONTENT [GROUP…]       wait for a datagram", hear},
	"shout":    {"IFACE ADDR:PORT CONTENT           send a datagram, to broadcast or multicast too", shout},
	"frames":   {"send|receive IFACE [-from] [-to]  a stream of random frames", frames},
	"inject":   {"ADDR:PORT COUNT VNI MARKER        VXLAN from a stranger", inject},
	"ps":       {"TEXT                              processes with TEXT in their command line", processes},
	"visit":    {"ADDR:PORT silence|garbage|http|tls  what a TCP port answers to a stranger", visit},
	"flood":    {"ADDR:PORT COUNT FROM…             keep connections of a stranger open", flood},
	"squat":    {"tcp|udp PORT                      hold a port until a signal", squat},
	"get":      {"URL                               fetch a page", get},
	"search":   {"TEXT PATH…                        where TEXT is in files, command lines and environments", search},
	"count":    {"IFACE MARKER                      count frames that hold MARKER until a signal", count},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("probe", flag.ContinueOnError)
	in := fs.String("in", "", "namespace: a process id or a path")
	fs.Usage = func() {
		fmt.Fprintln(fs.Output(), "usage: probe [-in PID|PATH] VERB …")
		for name, v := range verbs {
			fmt.Fprintf(fs.Output(), "  %-9s%s\n", name, v.usage)
		}
	}
	if err := fs.Parse(args); err != nil {
		return err
	}
	v, ok := verbs[fs.Arg(0)]
	if !ok {
		fs.Usage()
		return fmt.Errorf("no verb %q", fs.Arg(0))
	}
	at, err := place(*in)
	if err != nil {
		return err
	}
	answer, err := v.run(ctx, at, fs.Args()[1:])
	if err != nil {
		return fmt.Errorf("%s: %w", strings.Join(fs.Args(), " "), err)
	}
	if answer == nil {
		return nil
	}
	return json.NewEncoder(os.Stdout).Encode(answer)
}

func place(in string) (lab.Place, error) {
	if in == "" {
		return lab.Here{}, nil
	}
	if pid, err := strconv.Atoi(in); err == nil {
		in = fmt.Sprintf("/proc/%d/ns/net", pid)
	}
	return lab.OpenSpace(in)
}
