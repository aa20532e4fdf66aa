package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/examples/internal/procs"
)

// start starts one of the programs that were built in dir.
func start(t *testing.T, dir, name string, args ...string) (p *procs.Program, input io.Writer) {
	t.Helper()
	cmd := exec.Command(filepath.Join(dir, name), args...)
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+dir, "TMPDIR="+dir)
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	return procs.Start(t, cmd), input
}

// quit tells a program to end, and waits until it has.
func quit(t *testing.T, p *procs.Program, input io.Writer) {
	t.Helper()
	if _, err := io.WriteString(input, "quit\n"); err != nil {
		t.Fatal(err)
	}
	p.End(0)
}

// TestCluster has a scheduler, two nodes and a client work together, all of them processes of their own but the client, with a
// secret from a file.
func TestCluster(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	dir := t.TempDir()
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", dir, ".", "../scheduler").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	const secret = "the secret of a test"
	file := filepath.Join(dir, "secret")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	common := []string{"-i", "127.0.0.1", "-u", "-1", "--secret_file", file}
	scheduler, schedulerInput := start(t, dir, "scheduler", common...)
	at, err := discoro.ParseLocation(scheduler.Says(&scheduler.Out, regexp.MustCompile(`scheduler \S+ at (\S+),`)))
	if err != nil {
		t.Fatal(err)
	}
	nodes := map[*procs.Program]io.Writer{}
	for _, name := range []string{"north", "south"} {
		node, input := start(t, dir, "node", append([]string{"-c", "2", "-n", name, "--peer", at.String()}, common...)...)
		nodes[node] = input
	}
	client, err := discoro.NewRuntime(discoro.Config{Addr: "127.0.0.1", UDPPort: -1, Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}()
	greetings, err := greet(ctx, client, at)
	if err != nil || len(greetings) != 4 {
		t.Errorf("greetings %v, %v; want one of each of 4 servers", greetings, err)
	}
	for node, input := range nodes {
		quit(t, node, input)
	}
	quit(t, scheduler, schedulerInput)
}

// greet is a client: it has each of four servers say hello.
func greet(ctx context.Context, client *discoro.Runtime, scheduler discoro.Location) (greetings map[string]bool, err error) {
	comp, err := discoro.NewComputation(client, discoro.ComputationConfig{Functions: []string{"example.hello"}})
	if err != nil {
		return nil, err
	}
	if err := comp.Schedule(ctx, scheduler); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, comp.Close(ctx)) }()
	if err := comp.WaitServers(ctx, 4); err != nil {
		return nil, err
	}
	coros, err := comp.RunServers(ctx, Hello.With("you"))
	if err != nil {
		return nil, err
	}
	greetings = map[string]bool{}
	for _, co := range coros {
		text, err := discoro.Result[string](ctx, co)
		if err != nil || !strings.HasPrefix(text, "hello you, from process ") {
			return nil, fmt.Errorf("%q, %w", text, err)
		}
		greetings[text] = true
	}
	return greetings, nil
}
