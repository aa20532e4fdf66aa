package schedule

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/discoro/discoro/wire"
)

// TestSchedStateForOperators shows the state to an operator, and has the scheduler leave.
func TestSchedStateForOperators(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	see := func(want string) {
		t.Helper()
		if diff := cmp.Diff(want, b.state.Describe()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	see("nothing is active\nno node is known\n")
	b.serving(2)
	b.run(1, wire.Where{}, "s1: start 1")
	b.state.Frame(b.state.now, clientPeer(2), &wire.Submit{Call: 1, Token: token(2), Name: "later"})
	b.state.Take()
	see(`active: computation 01000000 of h:3001, jobs: 1, runs that wait for a server: 0
queue, number 1: computation 02000000 of later@h:3002
node, server  jobs  state
h:1001 ()     1     2 of 2 servers ready
  h:2001      1     ready
  h:2002      0     ready
`)
	b.state.Leave()
	b.on(clientPeer(3), &wire.Submit{Call: 1, Token: token(3)}, "c3: reply 1 error")
	b.gone(clientPeer(1), "n1: release")
	b.gone(clientPeer(2))
	if b.state.IsOver() {
		t.Error("it is over while a node closes")
	}
	b.on(nodePeer(1), &wire.Released{Token: token(1)})
	if !b.state.IsOver() {
		t.Error("it is not over")
	}
	see("nothing is active, and no new computation is accepted\nnode, server  jobs  state\nh:1001 ()     0     not used: it is restarting its servers\n")
}
