package discoro

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/discoro/discoro/internal/testkit"
)

var reportSize = Register("report.size", func(_ *Coro, b []byte) (int, error) { return len(b), nil })

// TestRunUnderWaySaysSo sends a large argument to a server that has been ready for a while. Neither
// the log nor the error says that the run waits for a server.
func TestRunUnderWaySaysSo(t *testing.T) {
	log := &testkit.Log{}
	inMemory(t, 1, SchedulerConfig{Config: Config{Logger: log.Logger()}}, NodeConfig{}, func(c *memCluster) {
		p := c.schedule(c.sched.Runtime, 2, ComputationConfig{})
		c.net.Host("n1").Cut()
		ctx, cancel := context.WithTimeout(c.ctx, 5*time.Second)
		defer cancel()
		_, err := p.Run(ctx, reportSize.With(make([]byte, 1<<20)))
		synctest.Wait()
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrNoServer) {
			t.Errorf("it ended with %v", err)
		}
		logged := log.String()
		for _, part := range []string{"run report.size with an argument of 1048", "it was sent to server ", "which has not reported yet that it has started"} {
			if err != nil && !strings.Contains(err.Error(), part) {
				t.Errorf("the error does not say %q: %v", part, err)
			}
			if !strings.Contains(logged, part) {
				t.Errorf("the log does not say %q:\n%s", part, logged)
			}
		}
		c.net.Heal()
		if err := p.Close(c.ctx); err != nil {
			t.Error(err)
		}
	})
}
