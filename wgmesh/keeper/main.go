package keeper

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/l2bridge/netns"
)

// Descriptors that the keeper is started with.
const (
	fdHost   = 3 // the host's network namespace
	fdReport = 4 // pipe: "ok" once the socket is served, else why not
)

// Main is the hidden command `weavewg keeper`; args are what follows the word. Only Ensure starts it.
func Main(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("weavewg keeper", flag.ContinueOnError)
	runDir := flags.String("run-dir", "", "folder of the keeper's socket")
	_ = flags.String("node", "", "first digits of the node's id, for people who read the process list")
	if err := flags.Parse(args); err != nil {
		return err
	}
	host, err := inherited(fdHost, "host namespace")
	if err == nil {
		err = netns.Check(host)
	}
	if err != nil {
		return fmt.Errorf("weavewg keeper is started by weavewg up, not by hand: %w", err)
	}
	report, err := inherited(fdReport, "report")
	if err != nil {
		return err
	}
	defer report.Close()
	nameProcess("weavewg keeper")
	ctx, stop := signal.NotifyContext(ctx, unix.SIGTERM)
	defer stop()
	signal.Ignore(unix.SIGHUP, unix.SIGINT) // a terminal's; we are not its

	output := &boundedLog{file: os.Stderr}
	log := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(output), zap.InfoLevel))
	err = Run(ctx, Settings{
		RunDir: *runDir, Host: host, Output: output, Logger: log,
		Ready: func() { _, _ = io.WriteString(report, "ok"); report.Close() }, // who started us may be gone
	})
	if err != nil {
		_, _ = io.WriteString(report, err.Error()) // closed if we were ready: then the log has it
		log.Error("keeper ended", zap.Error(err))
	}
	return err
}

// inherited takes a descriptor that the parent gave, and keeps it from our own children.
func inherited(fd int, name string) (*os.File, error) {
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
		return nil, fmt.Errorf("descriptor %d (%s): %w", fd, name, err)
	}
	unix.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), name)
	if f == nil {
		return nil, errors.New("no descriptor " + name)
	}
	return f, nil
}

// nameProcess sets what ps shows as the command's name; it would be "exe" after /proc/self/exe. At most 15 bytes count.
func nameProcess(name string) { _ = os.WriteFile("/proc/self/comm", []byte(name), 0) }
