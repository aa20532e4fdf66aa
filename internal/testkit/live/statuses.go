package live

import (
	"testing"

	"github.com/discoro/discoro"
)

// CheckStatuses checks that all, what a status coroutine received of a whole computation, is in the
// order that is promised.
func CheckStatuses(tb testing.TB, all []discoro.Status) {
	tb.Helper()
	nodes, servers := map[string]int{}, map[discoro.Location]int{} // 1 discovered, 2 initialized
	for i, s := range all {
		bad := false
		switch s.Kind { //nolint:exhaustive // the others have no order among these
		case discoro.NodeDiscovered:
			nodes[s.Node] = max(nodes[s.Node], 1)
		case discoro.NodeInitialized:
			bad = nodes[s.Node] != 1
			nodes[s.Node] = 2
		case discoro.ServerDiscovered:
			bad = nodes[s.Node] == 0 || servers[s.Server] != 0
			servers[s.Server] = 1
		case discoro.ServerInitialized:
			bad = nodes[s.Node] != 2 || servers[s.Server] != 1
			servers[s.Server] = 2
		case discoro.ServerClosed, discoro.ServerDisconnected:
			bad = nodes[s.Node] == 0 || servers[s.Server] == 0
			delete(servers, s.Server)
		case discoro.NodeClosed, discoro.NodeDisconnected:
			bad = nodes[s.Node] == 0
			delete(nodes, s.Node)
		case discoro.CoroCreated:
			bad = servers[s.Server] != 2
		case discoro.ComputationScheduled:
			bad = i != 0
		case discoro.ComputationClosed:
			bad = i != len(all)-1
		}
		if bad {
			tb.Errorf("%v came out of order; before it: %v", s, all[:i])
		}
	}
}
