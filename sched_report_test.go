package discoro

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/discoro/discoro/wire"
)

// TestSchedStateReportOfARun asks why a run has not started: it waits for a server, or is under way.
func TestSchedStateReportOfARun(t *testing.T) {
	t.Parallel()
	b := newSchedBed(t)
	b.on(schedClientPeer(1), &wire.Submit{Token: schedToken(1)}, "c1: ComputationScheduled")
	b.on(schedNodePeer(1), schedOffer(), "c1: NodeDiscovered node 1001", "n1: reserve")
	report := func(job int, want string) {
		t.Helper()
		if got := b.state.report(schedToken(1), schedJobID(1, job)); got != want {
			t.Errorf("of run %d: %q, want %q", job, got, want)
		}
	}
	b.run(1, wire.Where{})
	report(1, b.state.report(schedToken(1), wire.JobID{}))
	b.up(1, 1, true, "s1: start 1")
	report(1, "it was sent to server h:2001, which has not said yet that it has started")
	report(2, fmt.Sprintf("it has not come to the scheduler at %v yet", b.state.at))
}

var reportSize = Register("report.size", func(_ *Coro, b []byte) (int, error) { return len(b), nil })

// TestRunUnderWaySaysSo has a large argument on its way to a server that has been ready for long: neither the log nor the error says that
// the run waits for one.
func TestRunUnderWaySaysSo(t *testing.T) {
	log := &logBuffer{}
	inMemory(t, 1, SchedulerConfig{Config: Config{Logger: log.logger()}}, NodeConfig{}, func(c *memCluster) {
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
		for _, part := range []string{"run report.size with an argument of 1048", "it was sent to server ", "which has not said yet that it has started"} {
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
