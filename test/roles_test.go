package test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/discoro/discoro"
)

// roleEnv makes the test's program a role in a process of its own, which can be killed: "scheduler
// PORT", "node PORT SCHEDULER SERVERS" or "client SCHEDULER". It ends with its standard input.
const roleEnv = "DISCORO_TEST_ROLE"

// serveRole is the main function of such a process. It prints a line with its location, or when it
// has come so far.
func serveRole(role string) error {
	words := strings.Fields(role)
	cfg := discoro.Config{Name: words[0], Logger: slog.New(slog.DiscardHandler)}
	var err error
	if words[0] != "client" {
		if cfg.TCPPort, err = strconv.Atoi(words[1]); err != nil {
			return err
		}
	}
	switch words[0] {
	case "scheduler":
		s, err := discoro.NewScheduler(discoro.SchedulerConfig{Config: cfg})
		if err != nil {
			return err
		}
		defer s.Close()
		fmt.Println(s.Location())
	case "node":
		cfg.Peers = []string{words[2]}
		servers, err := strconv.Atoi(words[3])
		if err != nil {
			return err
		}
		n, err := discoro.NewNode(discoro.NodeConfig{Config: cfg, Servers: servers, Processes: true})
		if err != nil {
			return err
		}
		defer n.Close()
		fmt.Println(n.Location())
	case "client":
		return serveClient(cfg, words[1])
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// serveClient runs items for ever, and prints a line when some have ended.
func serveClient(cfg discoro.Config, scheduler string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	rt, err := discoro.NewRuntime(cfg)
	if err != nil {
		return err
	}
	defer rt.Close()
	if _, err := rt.Connect(ctx, scheduler); err != nil {
		return err
	}
	comp, err := discoro.NewComputation(rt)
	if err != nil {
		return err
	}
	rcs, err := discoro.NewRemoteCoroScheduler(comp)
	if err != nil {
		return err
	}
	n := 0
	for out := range discoro.AsCompleted(ctx, rcs, faultNap, func(yield func(int) bool) {
		for yield(1) {
		}
	}) {
		if n++; n == 20 {
			fmt.Println("running")
		}
		if out.Err != nil {
			return out.Err
		}
	}
	return nil
}

// roleProcess is a role in a process of its own.
type roleProcess struct {
	said  string // its line
	cmd   *exec.Cmd
	stdin io.Closer
	once  sync.Once
}

// startRole starts a process, and returns when it has printed its line. The process ends with the
// test, or before.
func startRole(t *testing.T, role string, args ...any) *roleProcess {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &roleProcess{cmd: exec.Command(exe)}
	p.cmd.Env = append(os.Environ(), roleEnv+"="+role+" "+strings.TrimSpace(fmt.Sprintln(args...)))
	p.cmd.Stderr = os.Stderr
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.end)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%s: %v", role, err)
	}
	p.said = strings.TrimSpace(line)
	return p
}

// kill ends the process with SIGKILL, and waits until it has exited.
func (p *roleProcess) kill() {
	p.once.Do(func() {
		_ = p.cmd.Process.Kill()
		_ = p.stdin.Close()
		_ = p.cmd.Wait()
	})
}

// end lets the process end in order, unless it was killed. Nobody removes the files of a node that
// is killed while its servers start.
func (p *roleProcess) end() {
	p.once.Do(func() {
		_ = p.stdin.Close()
		timer := time.AfterFunc(time.Minute, func() { _ = p.cmd.Process.Kill() })
		defer timer.Stop()
		_ = p.cmd.Wait()
	})
}

// location returns where the process can be reached.
func (p *roleProcess) location(t *testing.T) discoro.Location {
	t.Helper()
	loc, err := discoro.ParseLocation(p.said)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}
