package discoro

import "testing"

// CheckStatuses holds what a status coroutine was told of a whole computation against the order that is promised.
func CheckStatuses(t *testing.T, all []Status) {
	t.Helper()
	nodes, servers := map[string]int{}, map[Location]int{} // 1 discovered, 2 initialized
	for i, s := range all {
		bad := false
		switch s.Kind { //nolint:exhaustive // the others have no order among these
		case NodeDiscovered:
			nodes[s.Node] = max(nodes[s.Node], 1)
		case NodeInitialized:
			bad = nodes[s.Node] != 1
			nodes[s.Node] = 2
		case ServerDiscovered:
			bad = nodes[s.Node] == 0 || servers[s.Server] != 0
			servers[s.Server] = 1
		case ServerInitialized:
			bad = nodes[s.Node] != 2 || servers[s.Server] != 1
			servers[s.Server] = 2
		case ServerClosed, ServerDisconnected:
			bad = nodes[s.Node] == 0 || servers[s.Server] == 0
			delete(servers, s.Server)
		case NodeClosed, NodeDisconnected:
			bad = nodes[s.Node] == 0
			delete(nodes, s.Node)
		case CoroCreated:
			bad = servers[s.Server] != 2
		case ComputationScheduled:
			bad = i != 0
		case ComputationClosed:
			bad = i != len(all)-1
		}
		if bad {
			t.Errorf("%v is told out of order; before it: %v", s, all[:i])
		}
	}
}
