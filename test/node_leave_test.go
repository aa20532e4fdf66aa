package test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/discorotest"
	"github.com/discoro/discoro/internal/seam"
	"github.com/discoro/discoro/internal/testkit"
)

// nodeEcho returns the first message that it receives.
var nodeEcho = discoro.Register("node.echo", func(c *discoro.Coro, _ discoro.None) (string, error) {
	return discoro.ReceiveAs[string](c)
})

// nodeEnv returns a variable of the server's environment.
var nodeEnv = discoro.Register("node.env", func(_ *discoro.Coro, name string) (string, error) { return os.Getenv(name), nil })

// addNode starts one more node.
func (c *cluster) addNode(cfg discoro.NodeConfig) *discoro.Node {
	c.Helper()
	cfg.Peers = []string{c.sched.Location().String()}
	node, err := discoro.NewNode(cfg)
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { closeIn(c.T, "node", node.Close) })
	return node
}

// TestNodeDrain drains a node that runs a job. New jobs are refused, the job ends normally, and the
// computation goes on elsewhere.
func TestNodeDrain(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 1})
	comp := c.computation(1)
	server := c.server(comp)
	job, err := comp.Run(c.ctx, nodeEcho.With(discoro.None{}))
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(c.ctx, 20*time.Millisecond)
	defer cancel()
	if err := c.node.Drain(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("drained under a job: %v", err)
	}
	c.poll("a refusal", func() bool {
		_, err := comp.RunAt(c.ctx, server, double.With(3))
		return errors.Is(err, discoro.ErrNoServer) && strings.Contains(err.Error(), "it is leaving")
	})
	drained := make(chan error, 1)
	go func() { drained <- c.node.Drain(c.ctx) }()
	if err := job.Send("end"); err != nil {
		t.Fatal(err)
	}
	if text, err := discoro.Result[string](c.ctx, job); err != nil || text != "end" {
		t.Errorf("the job: %q, %v", text, err)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
	if err := c.node.Wait(); err != nil {
		t.Error(err)
	}
	if servers := c.node.Servers(); len(servers) != 0 {
		t.Errorf("a closed node has servers %v", servers)
	}
	if err := c.node.CloseComputation(c.ctx); err != nil {
		t.Errorf("of a closed node: %v", err)
	}
	other := c.addNode(discoro.NodeConfig{Servers: 1})
	if err := comp.WaitServers(c.ctx, 1); err != nil {
		t.Fatal(err)
	}
	if n := clusterRunAt(c, comp, discoro.NodeAddr(other.Location().String()), double.With(3)); n != 6 {
		t.Errorf("at another node: %d", n)
	}
}

// TestNodeServe lets a node serve two computations, after which it closes.
func TestNodeServe(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 1, Serve: 2})
	for range 2 {
		if err := c.computation(1).Close(c.ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.node.Wait(); err != nil {
		t.Error(err)
	}
}

// TestNodeTCPPorts gives servers ports, one of which is in use for a while, and has one of the
// servers replaced.
func TestNodeTCPPorts(t *testing.T) {
	t.Parallel()
	for name, processes := range map[string]bool{"processes": true, "in this process": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, taken := listenAnywhere(t), listenAnywhere(t)
			port := portOf(first)
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
			var log testkit.Log
			c := newCluster(t, discoro.NodeConfig{
				Servers: 2, Processes: processes, TCPPorts: []string{strconv.Itoa(port), strconv.Itoa(portOf(taken))},
				Config: discoro.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))},
			})
			comp := c.computation(1)
			server := c.server(comp)
			if server.Port != port {
				t.Errorf("the server listens on %v, want port %d", server, port)
			}
			says := fmt.Sprintf("port %d of TCPPorts cannot be listened on", portOf(taken))
			c.poll("a word on the port that is taken", func() bool { return strings.Contains(log.String(), says) })
			if err := taken.Close(); err != nil {
				t.Fatal(err)
			}
			if err := comp.Close(c.ctx); err != nil {
				t.Fatal(err)
			}
			comp = c.computation(2) // fresh ones, at the same ports
			servers, err := comp.Servers(c.ctx)
			ports := []int{servers[0].Port, servers[1].Port}
			slices.Sort(ports)
			want := []int{port, portOf(taken)}
			slices.Sort(want)
			if err != nil || !slices.Equal(ports, want) {
				t.Errorf("fresh servers at %v, %v; want %v", ports, err, want)
			}
		})
	}
}

func listenAnywhere(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

func portOf(ln net.Listener) int {
	addr, _ := ln.Addr().(*net.TCPAddr)
	return addr.Port
}

// TestNodeHours follows a node for a day: it serves, takes nothing new, is closed, and opens again.
func TestNodeHours(t *testing.T) {
	t.Parallel()
	synctest.Test(t, nodeHours)
}

func nodeHours(t *testing.T) {
	t.Helper()
	<-time.After(16*time.Hour + 59*time.Minute) // a bubble begins at midnight
	cfg := discoro.NodeConfig{Servers: 1, ServiceStart: "17:00", ServiceStop: "07:00", ServiceEnd: "08:00"}
	cfg.Config = discorotest.NewNetwork(t, true).At("host", discoro.Config{Logger: testkit.Quiet()})
	seam.Tune(&cfg.Config, seam.Tuning{Now: func() time.Time { return time.Now().UTC() }})
	c := newCluster(t, cfg)
	c.ctx = t.Context() // days pass
	start := time.Now()
	set := func(d time.Duration) { <-time.After(d - time.Since(start)) }
	comp := c.computation(0)
	const outside = "it is outside its hours of service, 17:00 to 07:00"
	c.poll("the reason", func() bool { return strings.Contains(c.reason(comp), outside) })
	set(time.Minute)
	if err := comp.WaitServers(c.ctx, 1); err != nil {
		t.Fatal(err)
	}
	server := c.server(comp)
	job, err := comp.Run(c.ctx, nodeEcho.With(discoro.None{}))
	if err != nil {
		t.Fatal(err)
	}
	set(14*time.Hour + time.Minute) // 7:00
	c.poll("a refusal", func() bool {
		_, err := comp.RunAt(c.ctx, server, double.With(3))
		return errors.Is(err, discoro.ErrNoServer) && strings.Contains(err.Error(), outside)
	})
	set(15*time.Hour + time.Minute) // 8:00
	if err := job.Wait(c.ctx); !errors.Is(err, discoro.ErrTerminated) || !strings.Contains(err.Error(), "terminated") {
		t.Errorf("the job ended with %v", err)
	}
	c.poll("the reason", func() bool { return strings.Contains(c.reason(comp), outside) })
	if err := comp.Close(c.ctx); err != nil {
		t.Fatal(err)
	}
	comp = c.computation(0)
	set(24*time.Hour + time.Minute) // 17:00
	if err := comp.WaitServers(c.ctx, 1); err != nil {
		t.Fatal(err)
	}
}
