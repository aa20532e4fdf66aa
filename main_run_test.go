package discoro

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/discoro/discoro/internal/cli"
)

// TestRunNodeWithoutInit is not parallel: for a moment it is as if TestMain had not called Init.
func TestRunNodeWithoutInit(t *testing.T) {
	initCalled.Store(false)
	defer initCalled.Store(true)
	if err := RunNode(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "discoro.Init") {
		t.Errorf("RunNode without Init: %v", err)
	}
}

// TestRunUntilContextEnds runs both programs in this process, with a context that has ended.
func TestRunUntilContextEnds(t *testing.T) {
	quietStdout(t)
	dir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", dir)
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	for name, run := range map[string]func(context.Context, []string) error{
		"node":      func(ctx context.Context, args []string) error { return RunNode(ctx, append(args, "-c", "1")) },
		"scheduler": RunScheduler,
	} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := run(ctx, []string{"--daemon", "-u", "-1"}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if files, err := os.ReadDir(filepath.Join(dir, "discoro")); err != nil || len(files) != 1 {
		t.Errorf("files %v, %v; want the node's lock", files, err)
	}
}

// quietStdout keeps programs that run in this process from printing among the output of the tests.
func quietStdout(t *testing.T) {
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	old := os.Stdout
	os.Stdout = null
	t.Cleanup(func() {
		os.Stdout = old
		_ = null.Close()
	})
}

// TestOptionsAreFields compares the options with the tags of the configurations: no option is
// parsed and then ignored, and no field is without an option.
func TestOptionsAreFields(t *testing.T) {
	t.Parallel()
	tags, names := map[string]bool{}, map[string]bool{}
	for _, cfg := range []any{nodeOptions{}, schedulerOptions{}} {
		for _, f := range reflect.VisibleFields(reflect.TypeOf(cfg)) {
			if tag := f.Tag.Get("json"); f.IsExported() && tag != "" && tag != "-" {
				tags[tag] = true
			}
		}
	}
	for _, o := range cli.Options {
		if names[o.Name] = true; !tags[o.Name] {
			t.Errorf("no field has the tag %s", o.Name)
		}
	}
	for tag := range tags {
		if !names[tag] {
			t.Errorf("no option sets the field with the tag %s", tag)
		}
	}
}

// TestFieldErrorsNameFlags checks that the errors of a configuration name the option of the field.
func TestFieldErrorsNameFlags(t *testing.T) {
	t.Parallel()
	for flag, cfg := range map[string]nodeOptions{
		"--tcp_ports":          {NodeConfig: NodeConfig{TCPPorts: []string{"x"}}},
		"--min_pulse_interval": {NodeConfig: NodeConfig{MinPulseInterval: time.Hour}},
		"-c":                   {NodeConfig: NodeConfig{Servers: -1000}},
		"--service_stop":       {NodeConfig: NodeConfig{ServiceStop: "noon"}},
		"--tcp_port":           {NodeConfig: NodeConfig{Config: Config{TCPPort: -1}}},
		"--ip_addr":            {NodeConfig: NodeConfig{Config: Config{Addr: "not a host"}}},
	} {
		err := cli.Usage(&cfg, cfg.check())
		var exit interface{ ExitCode() int }
		if !errors.As(err, &exit) || exit.ExitCode() != cli.BadUse || !strings.HasPrefix(err.Error(), "discoro: "+flag+": ") {
			t.Errorf("%s: %v", flag, err)
		}
	}
}
