// Package discoro is distributed communicating processes as a library: functions run as coroutines on the servers of
// many machines, and talk to each other by messages. A program embeds it, whatever its role.
//
// A function is registered by name in every program that runs it or calls it. [Func.With] makes a [Call] of it,
// [Computation.Run] starts that at a server and returns a [*Coro], and [Result] waits for what it returns.
// [RemoteCoroScheduler] runs many calls, one at a server at a time: [MapResults], [AsCompleted], [Execute].
//
// # A first program
//
// Without what is to be done with errors, which the example of this package has:
//
//	package main
//
//	import (
//		"context"
//		"fmt"
//		"slices"
//		"strings"
//
//		"github.com/discoro/discoro"
//	)
//
//	// words runs at servers: every program that is built with this variable has the function.
//	var words = discoro.Register("words", func(_ *discoro.Coro, text string) (int, error) {
//		return len(strings.Fields(text)), nil
//	})
//
//	func main() {
//		ctx := context.Background()
//		sched, _ := discoro.NewScheduler() // a private one, in this program
//		defer sched.Close()
//		node, _ := discoro.NewNode(discoro.NodeConfig{ // its servers do the work, one a CPU; others may be elsewhere
//			Config: discoro.Config{Peers: []string{sched.Location().String()}},
//		})
//		defer node.Close()
//
//		comp, _ := discoro.NewComputation(sched.Runtime) // the client
//		rcs, _ := discoro.NewRemoteCoroScheduler(comp)
//		counts, err := discoro.MapResults(ctx, rcs, words, slices.Values([]string{"to be", "or not to be"}))
//		fmt.Println(counts, err)
//		_ = rcs.Finish(ctx, true)
//	}
//
// It prints [2 4] <nil>. The examples of the types and functions answer a question each. They call three functions of their own,
// so as to be short, which are in example_test.go: on starts a scheduler and a node with so many servers, in also schedules a computation
// there, and greet is a registered function. The folder examples has whole programs.
//
// # Roles
//
// A [Runtime] is one participant: it listens at a [Location], has links to other runtimes, and runs coroutines. The roles
// are runtimes with one task more, and any number of them may live in one process:
//
//   - A [Scheduler] queues computations. One has all the nodes' servers at a time; the others wait, in order.
//   - A [Node] offers servers to the schedulers that it knows. It serves one computation at a time.
//   - A [Server] runs what computations ask for. Nodes start theirs: in the same process, or with
//     NodeConfig.Processes as processes of their own, which are the same program executed anew (see [Init]).
//   - A client is any runtime that makes a [Computation]. With [NewScheduler] in the same program it has a private
//     scheduler and needs nobody else but nodes.
//
// [NodeMain] and [SchedulerMain] make programs of the first two, with options, commands and signals.
//
// Either side may dial: nodes have the scheduler among their Peers, or the scheduler has them. Servers dial the client
// and the scheduler, and whoever has a handle of a coroutine dials its runtime.
//
// Runtimes find each other by Config.Peers, by [Runtime.Connect], and on the local network by [Runtime.Discover] and
// Config.DiscoverPeers; [Runtime.WatchPeers] tells a coroutine who comes and goes. Coroutines are found by their registered names
// with [Runtime.Locate]. A [Channel] passes each message on to many coroutines.
//
// The model and most names are those of asyncoro and its discoro module, later called pycos, for Python. Types and methods
// that have a counterpart there say so.
//
// # Coroutines and the turn
//
// A coroutine is a function with a mailbox. At most one coroutine of a runtime runs at a time: it has the turn until it
// ends or waits. So the coroutines of one server share its variables without locks, as long as nothing changes them
// without the turn: no goroutine of the function's own, no function that [Coro.Blocking] runs.
//
// The turn is given up at yield points only: [Coro.Receive], [Coro.ReceiveTimeout], [ReceiveAs], [Coro.Sleep],
// [Coro.Yield] and [Coro.Blocking], and whatever else of this package waits when a coroutine calls it, such as
// [Result], [Ask], [Coro.Deliver], [Computation.Run], and [Coro.Send] while a link's queue is full. Coroutines that can
// run get the turn in the order in which they became able to. There is no preemption: a function that computes for a
// minute delays the other coroutines of its server by a minute, and nothing else. Messages keep arriving in mailboxes,
// and the server's signs of life go on.
//
// A call that blocks in another way, such as reading a file or a Go channel, keeps the turn while it blocks. Wrap it in
// Blocking.
//
// The methods that belong inside a coroutine panic when another goroutine calls them, also one that the coroutine
// started. A coroutine that panics ends with a [*PanicError], and no other is harmed.
//
// # Concurrency properties
//
// What a goroutine or coroutine sends to a coroutine arrives in the order in which it was sent. Of what went over one link, a
// prefix arrives: nothing twice, and no gap before something that did arrive. When a link breaks, what was under way on it
// may be lost, and nothing is sent again by itself. [Coro.Deliver] that returns nil says that the message is in the
// mailbox, not that it was received.
//
// What a coroutine has sent to a watcher is there before its [Exit], when the watcher and the caller of [Coro.Monitor] are of
// one runtime and the link holds. An Exit comes exactly once. The order of Status messages is told at [Status].
//
// Not promised: any order between messages of different senders, or from one sender to different coroutines; that runs
// start in the order in which they were asked for; that a message is received before the coroutine ends.
//
// A message within a runtime is shared with its receiver, not copied: who sends a pointer, slice or map leaves it alone
// from then on. Between runtimes, even of one process, everything is copied. Arguments are copied when [Func.With] or
// [Named] is called, whatever the server.
//
// A coroutine runs once. Only RCSConfig.Retries makes a call run again, after its server was lost; such a call may have
// done part of its work before.
//
// Types are safe for concurrent use where their comments say so. An iterator of [AsCompleted] belongs to who ranges
// over it.
//
// # Cancellation
//
// A context bounds the caller's wait and nothing more, where the comment does not say otherwise: [Result] leaves the
// coroutine running; [Execute], [ExecuteAt], [MapResults] and [AsCompleted] terminate what they started; [Computation.Run]
// takes a run back that has not started. What is there already is returned even when the context has ended.
//
// A [*Coro] is a context itself, to be passed on inside the coroutine. After [Coro.Terminate], and when the computation
// or the runtime closes, it is done, and every yield point returns [ErrTerminated] at once, so that the function can
// return and its deferred functions run. To [errors.Is], ErrTerminated is a [context.Canceled] too. A function that has
// neither yielded nor returned after five seconds is abandoned: its end is reported with ErrTerminated, and its stack
// logged. Go cannot stop it, so it goes on until it returns; where servers are processes, its process is replaced.
//
// When a link breaks, calls that wait for an answer over it end with [ErrDisconnected], and runs whose server was behind it
// with a [*ServerLostError].
//
// # Limits
//
// One message, argument or result has at most Config.MaxMessage encoded bytes. It is nested at most 32 deep, has at most
// 16 million items, and may not take much more memory than bytes where it is decoded; PROTOCOL.md has the numbers. Exported
// fields travel, and what marshals itself; channels, functions and unexported fields do not. What cannot travel is an
// error where it is sent.
//
// A sender waits while 4 MiB are queued on a link. Mailboxes have no limit unless Config.MaxMailbox sets one: ask, or
// count answers, where a sender could run far ahead of a receiver.
//
// A scheduler keeps at most 2^20 runs of a client elsewhere that wait for servers, with 1 GiB of arguments and names; the next is
// [ErrRejected]. What [RemoteCoroScheduler] runs one at a server waits at the client, and arguments are not read before there is a server.
//
// Where a coroutine has ended, its runtime keeps how for other runtimes that have its handle and ask a little late: the
// last 1024 ends, with at most 1 MiB of results. Who asks later gets [ErrNotFound].
//
// A file that is received has at most Config.MaxFileSize bytes; what all of them take is bounded by the disk of DestPath only. Sixteen
// files at a time go from one runtime to another; what that takes of memory does not depend on their sizes.
//
// # Looking inside
//
// [Runtime.Coros] lists what the coroutines of a runtime do, and since when; [Runtime.Stack] shows where one is. In profiles of
// the processor and of goroutines, coroutines carry the labels "coro", their name, "func", and "runtime", the name of their runtime;
// so do goroutines that they start.
//
// Coroutines are resumed by [iter.Pull], on whichever thread is at hand. A coroutine must not hold a thread locked by
// [runtime.LockOSThread] across a yield point: the Go runtime would end the program. Inside Blocking locking is fine
// if the thread is unlocked before Blocking returns. For the same reason code that asks for a thread's identity or
// state, as some C libraries do, belongs inside one call of Blocking.
//
// A coroutine cannot close the runtime that it runs in, as Close would wait for it: [ErrRejected].
//
// # Security
//
// A runtime with neither Secret nor certificates listens on loopback only, unless Config.Insecure is set, and then takes
// orders from whoever reaches its port. With Secret, links are encrypted and each side proves to the other that it knows
// the secret before anything else is said; with CertFile, KeyFile and CAFile, or TLS, both sides show certificates.
// A secret is as good as it is long: 16 random characters are beyond guessing, a word is not.
//
// The boundary is the link. Whoever passes it may run every registered function at servers, and send any message to any
// coroutine or channel that it has a handle of: it was sent one, or found it by its name. Others it cannot name, as frames
// carry random numbers of 63 bits. Any peer may send files to a runtime's DestPath, below it and under names that mean nothing
// else; the files of a computation are for its client and its servers. A function does what its process may do: what a function of yours lets its argument do, such as naming a file
// or a command, it lets every peer do. What comes over a link is checked and bounded before it is decoded, and a peer that
// breaks the protocol loses its link.
package discoro
