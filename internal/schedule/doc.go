// Package schedule makes the decisions of a scheduler: which computation is active, which nodes and
// servers it uses, which server a run goes to, and what closes because it is idle.
//
// The package is pure. It has no goroutine, no lock, no clock and no connection: each event brings
// the time, and [State.Take] returns what the caller must do: effects, in order. A [State] belongs
// to the goroutine that calls it; the scheduler's loop in package discoro is the only one. The
// order of effects is part of what discoro promises: a node is announced before its servers, a
// server before its runs, and the close of a computation comes last.
//
// The tables below list the states of everything that a State knows. A frame in the second column has
// arrived, unless the table says that it is sent.
//
// # Computations
//
// One computation is active and has all servers; the others wait, in the order in which they came.
//
//	state    begins with                                         ends with
//	queued   Submit                                              active, when none is and it is the first;
//	                                                             CloseComputation; the client's link ends
//	active   it was the first of the queue                       closing
//	closing  CloseComputation; the client's link ends; the       every node has sent Released, or its
//	         operator closes it; Tick: it was idle for its       link has ended: the computation is
//	         zombie period; its last node left for idleness      forgotten, and the next becomes active
//
// The client receives Queued at each change of its position, then Status: ComputationScheduled when the
// computation becomes active, ComputationClosed when it has closed.
//
// # Nodes
//
// A node is known from its first Offer until its link ends. Its state says what it does for the active
// computation.
//
//	state      begins with                                       ends with
//	unused     the first Offer; Released; a new Offer changes    reserved
//	           what is known of it
//	reserved   Reserve is sent: the computation is active, and   releasing; Released without a Release: it
//	           the node's last Offer is free and fits            refused, or left by itself; its link ends
//	releasing  Release is sent: the computation is closing; the  Released; its link ends
//	           node is leaving and its last job has ended; Tick:
//	           nothing ran there for the node's zombie period
//
// A node whose Offer says that it is leaving stays reserved until its jobs have ended, and takes no
// new ones. The scheduler ends the node's service. So no job is on its way to a node that has gone,
// and a node that wants to leave need not wait for the end of a long computation. A node that has
// left a computation by itself, or for idleness, is not reserved for it again.
//
// # Servers
//
// A server is known while its node serves the active computation.
//
//	state       begins with                                      ends with
//	setting up  Servers names it as up, or its own Ready         ready; failed
//	            arrives first
//	ready       Ready without an error                           see below
//	failed      Ready with an error                              see below
//
// A server is forgotten, in any state, when Servers names it as gone, when its link or its node's link
// ends, when its node sends Released, when a ready server sends Ready with an error (it has lost its
// client), and when another server starts at its location.
//
// # Runs
//
// A run is known by its job number, which its client gives it.
//
//	state    begins with                                         ends with
//	waiting  Run, and no server can take it yet                  job, when servers change; Unrun; closing:
//	                                                             Done with an error is sent
//	job      Start is sent to a server                           Freed or Done from the server; the server
//	                                                             is forgotten: Done with an error is sent
//	unheard  Freed: it has ended, but the client may not know    Heard from the server: the client knows;
//	         that it had started                                 the server is forgotten: Unheard is sent
//
// The server sends the start and the end of a run to the client itself. Here a run is forgotten as soon
// as its end is known to both.
//
// # Time
//
// [State.Wake] returns when the caller must call [State.Tick]: when something may have been idle
// for its whole period, or when the first runs of a computation stop waiting for servers that are
// still starting.
package schedule
