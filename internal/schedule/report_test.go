package schedule

import (
	"testing"

	"github.com/discoro/discoro/wire"
)

// TestSchedStateReportOfARun asks why a run has not started: it waits for a server, or was sent to one.
func TestSchedStateReportOfARun(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.on(clientPeer(1), &wire.Submit{Token: token(1)}, "c1: ComputationScheduled")
	b.on(nodePeer(1), offer(), "c1: NodeDiscovered node 1001", "n1: reserve")
	report := func(job int, want string) {
		t.Helper()
		if got := b.state.report(token(1), jobID(1, job)); got != want {
			t.Errorf("of run %d: %q, want %q", job, got, want)
		}
	}
	b.run(1, wire.Where{})
	report(1, b.state.report(token(1), wire.JobID{}))
	b.up(1, 1, true, "s1: start 1")
	report(1, "it was sent to server h:2001, which has not reported yet that it has started")
	report(2, "it has not arrived at the scheduler at h:7070 yet")
}
