package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/config"
)

// upDetached starts `weavewg up` in a session of its own and returns when it stands, or with its error.
func (a *app) upDetached(cmd *cobra.Command) error {
	c, err := a.load(config.Sources{Flags: cmd.Flags(), Routes: hostRoutes()})
	if err != nil {
		return err
	}
	a.warn(c)
	if err := mayRun(); err != nil {
		return err
	}
	if err := os.MkdirAll(c.RunDir, 0o755); err != nil {
		return fmt.Errorf("run_dir: %w", err)
	}
	logPath := filepath.Join(c.RunDir, "weavewg.log")
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("run_dir: %w", err)
	}
	defer log.Close()

	arguments := []string{"up", "--report", "--config=" + c.File}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Name != "detach" && f.Name != "config" && f.Name != "report" {
			arguments = append(arguments, "--"+f.Name+"="+f.Value.String())
		}
	})
	code, said, err := startReporting(cmd.Context(), arguments, log)
	if err != nil {
		return fmt.Errorf("%w; see %s", err, logPath)
	}
	if code == 0 {
		fmt.Fprintf(a.out, "weavewg is up; its log is %s\n", logPath)
		return nil
	}
	fmt.Fprintln(a.err, said)
	return reportedError{code}
}

// startReporting starts this program with arguments and waits for what it says on its report descriptor. It returns
// code 0 once the daemon stands; else its exit code and its error.
func startReporting(ctx context.Context, arguments []string, log *os.File) (code int, said string, err error) {
	report, reportWrite, err := os.Pipe()
	if err != nil {
		return 0, "", err
	}
	defer report.Close()
	child := exec.Command("/proc/self/exe", arguments...)
	child.Args[0] = os.Args[0]
	child.Dir = "/"
	child.Stdout, child.Stderr = log, log
	child.ExtraFiles = []*os.File{reportWrite}
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = child.Start()
	reportWrite.Close()
	if err != nil {
		return 0, "", fmt.Errorf("%w: %w", errStarted, err)
	}
	release := context.AfterFunc(ctx, func() { _ = report.SetReadDeadline(time.Now()) })
	defer release()
	text, err := io.ReadAll(report)
	if err == nil && string(text) == "ok" {
		return 0, "", child.Process.Release()
	}
	if err != nil { // interrupted: nobody waits for it any more
		_ = child.Process.Signal(syscall.SIGTERM)
	}
	waiting := child.Wait()
	if err != nil {
		return 0, "", fmt.Errorf("%w: interrupted", errStarted)
	}
	exit, ok := errors.AsType[*exec.ExitError](waiting)
	if !ok || exit.ExitCode() <= 0 || len(text) == 0 {
		return 0, "", fmt.Errorf("%w: it ended (%v)", errStarted, child.ProcessState)
	}
	return exit.ExitCode(), strings.TrimSpace(string(text)), nil
}
