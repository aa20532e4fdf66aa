// Package discoro is a library for distributed communicating processes: functions run as coroutines
// on the servers of many machines, and send each other messages. One package has every role of a
// cluster, and a program uses the roles that it needs.
//
// A function is registered by name in every program that runs it or calls it. [Func.With] makes a
// [Call] of it, [Computation.Run] starts the call at a server and returns a [*Coro], and [Result]
// waits for its result. A [RemoteCoroScheduler] runs many calls, one at a server at a time:
// [MapResults], [AsCompleted], [Execute].
//
// # A first program
//
// This program ignores most errors. The example of this package does the same and handles them.
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
// It prints [2 4] <nil>. Each example of a type or function answers a question. Examples are short
// because they call three functions of example_test.go: on starts a scheduler and a node with some
// servers, in also schedules a computation there, and greet is a registered function. The folder
// examples has whole programs, and the folder docs has a tour and answers to questions.
//
// # Roles
//
// A [Runtime] is one participant: it listens at a [Location], has links to other runtimes, and runs
// coroutines. A role is a runtime with one more task. Any number of runtimes and roles may live in
// one process:
//
//   - A [Scheduler] queues computations. One computation at a time has the servers of all nodes; the
//     others wait, in order.
//   - A [Node] offers servers to the schedulers that it knows. It serves one computation at a time.
//   - A [Server] runs the functions of computations. A node starts its servers: in its own process, or,
//     with NodeConfig.Processes, as processes that execute the same program again (see [Init]).
//   - A client is any runtime that makes a [Computation]. With [NewScheduler] in the same program it has
//     a private scheduler, and needs only nodes.
//
// [NodeMain] and [SchedulerMain] make programs of the first two, with options, commands and
// signals.
//
// Either side may dial: nodes have the scheduler among their Config.Peers, or the scheduler has the
// nodes in SchedulerConfig.Nodes, or discovers them. Servers dial the client and the scheduler. A
// runtime that has a handle of a coroutine dials the runtime of that coroutine.
//
// Runtimes find each other by Config.Peers, by [Runtime.Connect], and on the local network by
// [Runtime.Discover] and Config.DiscoverPeers. [Runtime.WatchPeers] reports to a coroutine which
// peers come and go. [Runtime.Locate] finds a coroutine by its registered name. A [Channel] passes
// each message on to many coroutines.
//
// The model and most names come from asyncoro and its discoro module, later called pycos, for
// Python. Types and methods that have a counterpart there name it.
//
// # Coroutines and the turn
//
// A coroutine is a function with a mailbox. At most one coroutine of a runtime runs at a time: it
// has the turn until it ends or waits. Coroutines of one server therefore share its variables
// without locks, as long as only code that has the turn changes them: not a goroutine that a
// coroutine starts, and not a function that [Coro.Blocking] runs.
//
// A coroutine gives up the turn only at yield points: [Coro.Receive], [Coro.ReceiveTimeout],
// [ReceiveAs], [Coro.Sleep], [Coro.Yield], [Coro.Blocking], and everything else in this package
// that waits when a coroutine calls it, such as [Result], [Ask], [Coro.Deliver], [Computation.Run],
// and [Coro.Send] while the queue of a link is full. Coroutines get the turn in the order in which
// they became able to run. There is no preemption: a function that computes for a minute delays the
// other coroutines of its server for a minute, and nothing else. Messages still arrive in
// mailboxes, and the server still gives signs of life.
//
// A call that blocks in another way, such as reading a file or a Go channel, keeps the turn while
// it blocks. Wrap it in Blocking.
//
// The methods that belong inside a coroutine panic when another goroutine calls them, including a
// goroutine that the coroutine started. A coroutine that panics ends with a [*PanicError], and
// harms no other coroutine.
//
// # Concurrency properties
//
// Messages from one goroutine or coroutine to one coroutine arrive in the order in which they were
// sent. What arrives over one link is a prefix of what was sent on it: nothing arrives twice, and
// nothing is missing before something that did arrive. When a link breaks, messages on their way
// may be lost, and nothing is sent again by itself. When [Coro.Deliver] returns nil, the message is
// in the mailbox; it may not have been received.
//
// Messages that a coroutine has sent to a watcher arrive before its [Exit], if the watcher and the
// caller of [Coro.Monitor] are of one runtime and the link holds. An Exit comes exactly once.
// [Status] describes the order of Status messages.
//
// Not promised: any order between messages of different senders, or from one sender to different
// coroutines; that runs start in the order of their calls; that a message is received before the
// coroutine ends.
//
// A message within a runtime is shared with its receiver, not copied: a sender must not use a
// pointer, slice or map after it has sent it. Between runtimes, even of one process, everything is
// copied. Arguments are copied when [Func.With] or [Named] is called, wherever the server is.
//
// A coroutine runs once. Only RCSConfig.Retries makes a call run again, after its server was lost.
// Such a call may have done part of its work before.
//
// Types are safe for concurrent use where their comments say so. An iterator of [AsCompleted]
// belongs to the goroutine or coroutine that ranges over it.
//
// # Cancellation
//
// A context bounds only the wait of the caller, unless a comment says otherwise: [Result] leaves
// the coroutine running; [Execute], [ExecuteAt], [MapResults] and [AsCompleted] terminate what they
// started; [Computation.Run] takes back a run that has not started. A result that is there already
// is returned even when the context has ended.
//
// A [*Coro] is itself a context, to be passed on inside the coroutine. It is done after
// [Coro.Terminate], and when the computation or the runtime closes. Every yield point then returns
// [ErrTerminated] at once, so that the function can return and its deferred functions run. To
// [errors.Is], ErrTerminated is a [context.Canceled] too. A function that has neither yielded nor
// returned after five seconds is abandoned: its end is reported with ErrTerminated, and its stack
// is logged. Go cannot stop it, so it runs on until it returns. Where servers are processes, its
// process is replaced.
//
// When a link breaks, calls that wait for an answer over it end with [ErrDisconnected], and runs at
// a server behind it end with a [*ServerLostError].
//
// # Limits
//
// One message, argument or result has at most Config.MaxMessage encoded bytes. It is nested at most
// 32 levels deep, has at most 16 million items, and may not take much more memory than bytes when
// it is decoded; PROTOCOL.md has the numbers. Exported fields travel, and values that marshal
// themselves. Channels, functions and unexported fields do not. A value that cannot travel is an
// error where it is sent.
//
// A sender waits while 4 MiB are queued on a link. Mailboxes have no limit unless Config.MaxMailbox
// sets one: ask, or count answers, where a sender could run far ahead of a receiver.
//
// A scheduler keeps at most 2^20 runs of a client elsewhere that wait for servers, with 1 GiB of
// arguments and names. The next run is [ErrRejected]. The tasks of a [RemoteCoroScheduler] wait at
// the client, and it reads arguments only when there is a server for them.
//
// After a coroutine has ended, its runtime remembers the outcome for other runtimes that have its
// handle and ask late: the last 1024 outcomes, with at most 1 MiB of results. Later requests get
// [ErrNotFound].
//
// A received file has at most Config.MaxFileSize bytes. Only the disk of DestPath bounds what all
// files take. At most sixteen files at a time go from one runtime to another; the memory for that
// does not depend on their sizes.
//
// # Looking inside
//
// [Runtime.Coros] lists what the coroutines of a runtime do, and since when. [Runtime.Stack] shows
// where one is. In profiles of the processor and of goroutines, coroutines have the labels "coro",
// their name, "func", and "runtime", the name of their runtime. Goroutines that they start have the
// same labels.
//
// Coroutines are resumed by [iter.Pull], on any thread. A coroutine must not hold a thread locked
// by [runtime.LockOSThread] across a yield point: the Go runtime would end the program. Inside
// Blocking, locking is fine if the thread is unlocked before Blocking returns. For the same reason,
// code that depends on the identity or state of a thread, as some C libraries do, belongs inside
// one call of Blocking.
//
// A coroutine cannot close the runtime that it runs in, because Close would wait for it: that is
// [ErrRejected].
//
// # Security
//
// A runtime with neither Secret nor certificates listens on loopback only, unless Config.Insecure
// is set. It then accepts everybody who reaches its port. With Secret, links are encrypted, and
// each side proves to the other that it knows the secret before anything else is sent. With
// CertFile, KeyFile and CAFile, or TLS, both sides show certificates. A secret is as good as it is
// long: nobody guesses 16 random characters, and anybody guesses a word.
//
// The boundary is the link. A peer that has passed it may run every registered function at servers,
// and may send any message to a coroutine or channel that it has a handle of, because it received
// the handle or found it by name. It cannot name others, because frames carry random numbers of 63
// bits. Any peer may send files to the DestPath of a runtime, below it and under names that mean
// nothing else. The files of a computation are for its client and its servers. A function does what
// its process may do: what a function of yours lets its argument do, such as naming a file or a
// command, it lets every peer do. What comes over a link is checked and bounded before it is
// decoded, and a peer that breaks the protocol loses its link.
package discoro
