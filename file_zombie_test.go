package discoro

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/discoro/discoro/wire"
)

// TestFilesAreNoIdleness has a client that runs nothing send a file for longer than its ZombiePeriod: the
// computation goes on while bytes of the file arrive, and is closed when none have for a period.
func TestFilesAreNoIdleness(t *testing.T) {
	const period, blocks = time.Minute, 5
	inMemory(t, 1, SchedulerConfig{ZombiePeriod: period}, NodeConfig{ZombiePeriod: period}, func(c *memCluster) {
		client := c.client("client")
		p := c.schedule(client, 2, ComputationConfig{})
		servers, err := p.Servers(c.ctx)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, make([]byte, blocks*wire.FileBlock), 0o600); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		slow := FileOptions{Progress: func(int64, int64) { <-time.After(period * 2 / 3) }}
		if err := client.SendFile(c.ctx, servers[0], file, slow); err != nil || time.Since(start) < 3*period {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		if _, err := p.Servers(c.ctx); err != nil {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		stuck := FileOptions{Overwrite: true, Progress: func(int64, int64) { <-time.After(2 * period) }}
		err = client.SendFile(c.ctx, servers[0], file, stuck)
		if !errors.Is(err, ErrClosed) && !errors.Is(err, ErrRejected) {
			t.Errorf("one that stands still: %v", err)
		}
		if _, err := p.Servers(c.ctx); !errors.Is(err, ErrClosed) {
			t.Errorf("after one that stood still: %v", err)
		}
	})
}
