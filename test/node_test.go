package test

import (
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/internal/stopwatch"
	"github.com/discoro/discoro/internal/testkit"
)

// nodeDir writes a file into the computation's folder, and returns the folder.
var nodeDir = discoro.Register("node.dir", func(c *discoro.Coro, _ discoro.None) (string, error) {
	return c.Dir(), os.WriteFile(filepath.Join(c.Dir(), "file"), []byte("x"), 0o600)
})

func TestNodeConfigs(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for says, cfg := range map[string]discoro.NodeConfig{
		"NodeConfig.Servers":       {Servers: -1000},
		"Config.Peers":             {Config: discoro.Config{Peers: []string{"nowhere"}}},
		"TLS cannot be given":      {Processes: true, Config: discoro.Config{TLS: &tls.Config{MinVersion: tls.VersionTLS13}}},
		"no folder for its server": {Config: discoro.Config{DestPath: filepath.Join(file, "below")}},
	} {
		if n, err := discoro.NewNode(cfg); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, %v", says, n, err)
		}
	}
	if _, err := discoro.NewNode(discoro.NodeConfig{}, discoro.NodeConfig{}); err == nil {
		t.Error("two configurations")
	}
}

// TestNodeFolders checks that the files of a computation are removed when it ends, and the folder
// of a node when that closes. Everything else in DestPath stays.
func TestNodeFolders(t *testing.T) {
	t.Parallel()
	for name, processes := range map[string]bool{"processes": true, "in this process": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dest := t.TempDir()
			if err := os.MkdirAll(filepath.Join(dest, "server-1"), 0o700); err != nil { // the user's
				t.Fatal(err)
			}
			c := newCluster(t, discoro.NodeConfig{Servers: 1, Processes: processes, Config: discoro.Config{DestPath: dest}})
			for range 2 {
				comp := c.computation(1)
				dir := clusterRunAt(c, comp, c.server(comp), nodeDir.With(discoro.None{}))
				if rel, err := filepath.Rel(dest, dir); err != nil || strings.HasPrefix(rel, "..") {
					t.Errorf("the folder %s is not below %s", dir, dest)
				}
				if err := comp.Close(c.ctx); err != nil {
					t.Fatal(err)
				}
				if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s is left: %v", dir, err)
				}
			}
			if err := c.node.Close(); err != nil {
				t.Error(err)
			}
			left, err := os.ReadDir(dest)
			if err != nil || len(left) != 1 || left[0].Name() != "server-1" {
				t.Errorf("left are %v, %v", left, err)
			}
		})
	}
}

func TestNodeCloseComputation(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 1})
	comp := c.computation(1)
	co, err := comp.Run(c.ctx, faultNap.With(3600_000))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.node.CloseComputation(c.ctx); err != nil {
		t.Fatal(err)
	}
	if err := co.Wait(c.ctx); !errors.Is(err, discoro.ErrTerminated) {
		t.Errorf("the job ended with %v", err)
	}
	c.poll("the reason", func() bool { return strings.Contains(c.reason(comp), "closed at the node") })
	if err := comp.Close(c.ctx); err != nil {
		t.Fatal(err)
	}
	next := c.computation(1) // gets the node again
	if err := next.Close(c.ctx); err != nil {
		t.Error(err)
	}
	if err := c.node.CloseComputation(c.ctx); err != nil { // there is none
		t.Error(err)
	}
}

// TestNodeGuestServer adds a server that the node has not started.
func TestNodeGuestServer(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 1})
	guest, err := discoro.NewServer(discoro.ServerConfig{Node: c.node.Location().String()})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		comp := c.computation(2)
		servers, err := comp.Servers(c.ctx)
		if err != nil || !slices.Contains(servers, guest.Location()) {
			t.Errorf("servers %v, %v; want %v among them", servers, err, guest.Location())
		}
		dir := clusterRunAt(c, comp, guest.Location(), nodeDir.With(discoro.None{}))
		if err := comp.Close(c.ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", dir, err)
		}
	}
	if err := c.node.Close(); err != nil {
		t.Error(err)
	}
	if err := guest.Wait(); err != nil { // its node is gone
		t.Error(err)
	}
}

// TestNodeReplacesKilledServers kills servers that serve no computation.
func TestNodeReplacesKilledServers(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 1, Processes: true})
	comp := c.computation(1)
	for range 3 {
		server := c.server(comp)
		pid := clusterRunAt(c, comp, server, faultPid.With(discoro.None{}))
		watch := stopwatch.Start(t)
		if err := testkit.Kill(pid); err != nil {
			t.Fatal(err)
		}
		c.awaitOther(comp, server)
		watch.Within("a fresh server", 5*time.Second)
	}
}
