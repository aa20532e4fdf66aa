// Package discorotest starts clusters for tests: a scheduler, nodes and servers, usually all in the
// test's process, and faults to try on them.
//
//	func TestWords(t *testing.T) {
//		cluster := discorotest.New(t, discorotest.Config{Nodes: 3, Servers: 2})
//		comp := cluster.Computation(t, discoro.ComputationConfig{})
//		co, err := comp.Run(t.Context(), words.With(page))
//		...
//		cluster.KillServer(cluster.Nodes[0].Servers()[0])
//	}
//
// [New] returns when every server is up. When the test ends, the cluster closes, and the test fails
// if a goroutine, a socket or a file is left. [NewNetwork] is for programs that make their own
// runtimes and roles.
//
// # Faults
//
// [Cluster.Cut] cuts a node off silently, as when a cable is pulled, and [Cluster.Heal] connects it
// again. Nobody notices until five pulses are missed; with [discoro.ComputationConfig.PulseInterval]
// of 100 ms that is half a second. [Cluster.KillServer] ends one server as kill -9 would.
//
// # Fake time
//
// With [Config.InMemory] the cluster needs no sockets and can run in a bubble of [testing/synctest],
// where hours pass at once:
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
// With [discoro.NodeConfig.Processes] in [Config.Node] each server is a process: it executes the test's
// program again. So TestMain calls [discoro.Init] first:
//
//	func TestMain(m *testing.M) {
//		discoro.Init()
//		os.Exit(m.Run())
//	}
//
// # What counts as left
//
// These always count: goroutines that coroutines of the cluster have started, directly or indirectly;
// folders of the nodes; and coroutines that ignore their termination.
//
// If no other test runs at the same time, everything counts that was not there when New was called:
// every goroutine and, on Linux, every socket and open file. That includes what the test itself has
// started and not ended, such as idle connections of an HTTP client. [Config.Ignore] makes exceptions.
//
// # Goroutines and locks
//
// The only goroutines of the package close the nodes side by side, and New's cleanup waits for them.
// testLog.mu guards whether the test has ended, and is held while a line is logged.
package discorotest
