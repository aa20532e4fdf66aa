package test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/wire"
)

// TestFilesAreNoIdleness has a client that runs nothing send a file for longer than its
// ZombiePeriod: the computation goes on while bytes of the file arrive, and is closed when none
// have for a period.
func TestFilesAreNoIdleness(t *testing.T) {
	const period, blocks = time.Minute, 5
	inMemory(t, 1, discoro.SchedulerConfig{ZombiePeriod: period}, discoro.NodeConfig{ZombiePeriod: period}, func(c *memCluster) {
		client := c.client("client")
		p := c.schedule(client, 2, discoro.ComputationConfig{})
		servers, err := p.Servers(c.ctx)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, make([]byte, blocks*wire.FileBlock), 0o600); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		slow := discoro.FileOptions{Progress: func(int64, int64) { <-time.After(period * 2 / 3) }}
		if err := client.SendFile(c.ctx, servers[0], file, slow); err != nil || time.Since(start) < 3*period {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		if _, err := p.Servers(c.ctx); err != nil {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		stuck := discoro.FileOptions{Overwrite: true, Progress: func(int64, int64) { <-time.After(2 * period) }}
		err = client.SendFile(c.ctx, servers[0], file, stuck)
		if !errors.Is(err, discoro.ErrClosed) && !errors.Is(err, discoro.ErrRejected) {
			t.Errorf("one that stands still: %v", err)
		}
		if _, err := p.Servers(c.ctx); !errors.Is(err, discoro.ErrClosed) {
			t.Errorf("after one that stood still: %v", err)
		}
	})
}
