// Package discorotest makes clusters for tests: a scheduler and nodes in the test's process, with servers beside them, and
// faults to try.
//
//	func TestWords(t *testing.T) {
//		cluster := discorotest.New(t, discorotest.Config{Nodes: 3, Servers: 2})
//		comp := cluster.Computation(t, discoro.ComputationConfig{})
//		co, err := comp.Run(t.Context(), words.With(page))
//		...
//		cluster.KillServer(cluster.Nodes[0].Servers()[0])
//	}
//
// [New] returns when every server is up. When the test ends, the cluster closes, and the test fails if a goroutine, a socket
// or a file is left.
//
// # Faults
//
// [Cluster.Cut] cuts a node off without a word to anybody, as a cable that is pulled, and [Cluster.Heal] mends that.
// Nothing shows until five pulses are missed; with [discoro.ComputationConfig.PulseInterval] of 100 ms that is half a second.
// [Cluster.KillServer] ends one server as kill -9 would.
//
// # Fake time
//
// With [Config.InMemory] the cluster needs no sockets, and runs in the bubbles of [testing/synctest], where hours pass at once:
//
//	func TestNight(t *testing.T) {
//		synctest.Test(t, func(t *testing.T) {
//			cluster := discorotest.New(t, discorotest.Config{InMemory: true})
//			...
//			<-time.After(12 * time.Hour)
//		})
//	}
//
// # Processes
//
// With [discoro.NodeConfig.Processes] in [Config.Node] each server is a process: the test's program, executed anew. So its
// TestMain calls [discoro.Init] first:
//
//	func TestMain(m *testing.M) {
//		discoro.Init()
//		os.Exit(m.Run())
//	}
//
// # What counts as left
//
// Goroutines that coroutines of the cluster have started, or their children, count always; so do folders of the nodes,
// listeners, and coroutines that ignore their termination. Where no other test runs at the same time, every goroutine, and on Linux
// every socket and open file, counts that was not there when New was called: also what the test itself has started and
// not ended, such as idle connections of an HTTP client. [Config.Ignore] makes exceptions.
package discorotest
