package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/discoro/discoro"
)

// program is a node or a scheduler.
type program struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	ended  chan error
	mu     sync.Mutex // guards following; leaf
	output bytes.Buffer
}

func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.Write(b)
}

func (p *program) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// start starts one of the programs that were built in dir.
func start(t *testing.T, dir, name string, args ...string) *program {
	t.Helper()
	p := &program{cmd: exec.Command(filepath.Join(dir, name), args...), ended: make(chan error, 1)}
	p.cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+dir, "TMPDIR="+dir)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		p.ended <- p.cmd.Wait()
		close(exited)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-exited
		if t.Failed() {
			t.Logf("%s %q said:\n%s", name, args, p.said())
		}
	})
	return p
}

// find waits for what re finds in what the program says.
func (p *program) find(ctx context.Context, t *testing.T, re string) string {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if m := regexp.MustCompile(re).FindStringSubmatch(p.said()); m != nil {
			return m[1]
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("it has not said %s", re)
		}
	}
}

// end tells a program to end, and waits until it has.
func (p *program) end(ctx context.Context, t *testing.T) {
	t.Helper()
	if _, err := io.WriteString(p.in, "quit\n"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-p.ended:
		if err != nil {
			t.Errorf("it ended with %v", err)
		}
	case <-ctx.Done():
		t.Fatal("it does not end")
	}
}

// TestCluster has a scheduler, two nodes and a client work together, all of them processes of their own but the client, with a
// secret from a file.
func TestCluster(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
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
	scheduler := start(t, dir, "scheduler", common...)
	at, err := discoro.ParseLocation(scheduler.find(ctx, t, `scheduler \S+ at (\S+),`))
	if err != nil {
		t.Fatal(err)
	}
	var nodes []*program
	for _, name := range []string{"north", "south"} {
		nodes = append(nodes, start(t, dir, "node", append([]string{"-c", "2", "-n", name, "--peer", at.String()}, common...)...))
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
	for _, p := range append(nodes, scheduler) {
		p.end(ctx, t)
	}
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
