package discoro

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/discoro/discoro/wire"
)

// StatusKind says what has happened, in a [Status]. The numbers are those of asyncoro.
type StatusKind uint8

// The kinds of a Status, in the order in which they happen.
const (
	NodeDiscovered       StatusKind = wire.StatusNodeDiscovered       // a node is known, and is used if it fits
	NodeInitialized      StatusKind = wire.StatusNodeInitialized      // the first server of a node is about to be usable
	NodeClosed           StatusKind = wire.StatusNodeClosed           // a node no longer serves the computation
	NodeIgnore           StatusKind = wire.StatusNodeIgnore           // a node does not fit, or has refused; see Reason
	NodeDisconnected     StatusKind = wire.StatusNodeDisconnected     // the link to a node broke
	ServerDiscovered     StatusKind = wire.StatusServerDiscovered     // a server is up and is being set up
	ServerInitialized    StatusKind = wire.StatusServerInitialized    // a server can be used
	ServerClosed         StatusKind = wire.StatusServerClosed         // a server no longer serves the computation
	ServerIgnore         StatusKind = wire.StatusServerIgnore         // a server could not be set up; see Reason
	ServerDisconnected   StatusKind = wire.StatusServerDisconnected   // a server is lost, with what it ran
	CoroCreated          StatusKind = wire.StatusCoroCreated          // a run has started; see Coro
	ComputationScheduled StatusKind = wire.StatusComputationScheduled // the computation is active
	ComputationClosed    StatusKind = wire.StatusComputationClosed    // the computation is over: the last message
)

// String returns the kind's name.
func (k StatusKind) String() string {
	switch k {
	case NodeDiscovered:
		return "NodeDiscovered"
	case NodeInitialized:
		return "NodeInitialized"
	case NodeClosed:
		return "NodeClosed"
	case NodeIgnore:
		return "NodeIgnore"
	case NodeDisconnected:
		return "NodeDisconnected"
	case ServerDiscovered:
		return "ServerDiscovered"
	case ServerInitialized:
		return "ServerInitialized"
	case ServerClosed:
		return "ServerClosed"
	case ServerIgnore:
		return "ServerIgnore"
	case ServerDisconnected:
		return "ServerDisconnected"
	case CoroCreated:
		return "CoroCreated"
	case ComputationScheduled:
		return "ComputationScheduled"
	case ComputationClosed:
		return "ComputationClosed"
	}
	return fmt.Sprintf("StatusKind(%d)", uint8(k))
}

// Status is the message that the status coroutine of a computation receives when a node, a server
// or the computation changes its state, and when a run has started. In asyncoro: DiscoroStatus.
//
// The order is a promise. A node is discovered before its servers, and a server is discovered
// before it is initialized. CoroCreated comes behind the ServerInitialized of its server, and
// before the coroutine's [Exit]. Servers close before their node. ComputationClosed comes last.
type Status struct {
	Kind   StatusKind
	Node   string   // the location of the node, "host:port"
	Server Location // with a server's kinds; with CoroCreated, where the coroutine runs
	Coro   CoroInfo // with CoroCreated
	Reason string   // with the kinds Ignore, Closed and Disconnected, where there is one
}

// String returns the kind and what else is set, for people.
func (s Status) String() string {
	text := s.Kind.String()
	if s.Node != "" {
		text += " node " + s.Node
	}
	if !s.Server.IsZero() {
		text += " server " + s.Server.String()
	}
	if s.Coro.Coro != nil {
		text += " coro " + s.Coro.Coro.String()
	}
	if s.Reason != "" {
		text += ": " + s.Reason
	}
	return text
}

// CoroInfo is what a coroutine of a computation runs.
type CoroInfo struct {
	Coro  *Coro     // a handle of the coroutine
	Func  string    // the name of the function
	Arg   any       // the argument, as the client has passed it
	Start time.Time // by the clock of the server
}

// statusOf turns a frame into a Status.
func statusOf(f *wire.Status) Status {
	s := Status{Kind: StatusKind(f.What), Node: f.Node, Reason: f.Reason}
	if f.Server.Port != 0 {
		s.Server = peerLocation(f.Server)
	}
	return s
}

func peerLocation(p wire.Peer) Location { return Location{Addr: p.Host, Port: p.Port} }

// outbox holds messages for the status coroutine of a computation. It gives them the order that
// Status promises, although their frames come over several links, which keep no order among each
// other: the scheduler sends what happens to servers, and a server sends what happens to jobs. The
// start of a job always comes before its end, since the job's server sends both over one link.
// Computation.mu guards it.
type outbox struct {
	items  []any              // to be sent next
	held   map[Location][]any // of jobs at servers whose ServerInitialized has not come yet
	busy   bool               // a goroutine sends
	closed bool               // ComputationClosed was put
}

// put adds a message.
func (o *outbox) put(msg any) {
	if !o.closed {
		o.items = append(o.items, msg)
	}
}

// putJob adds a message about a job at a server, behind that server's ServerInitialized. known has
// the servers whose ServerInitialized has come.
func (o *outbox) putJob(known map[Location]string, server Location, msg any) {
	if known[server] != "" || o.closed {
		o.put(msg)
		return
	}
	if o.held == nil {
		o.held = map[Location][]any{}
	}
	o.held[server] = append(o.held[server], msg)
}

// release adds the messages that were held for a server of the node.
func (o *outbox) release(server Location, node string) {
	for _, msg := range o.held[server] {
		if s, ok := msg.(Status); ok {
			s.Node = node
			msg = s
		}
		o.put(msg)
	}
	delete(o.held, server)
}

// close adds the last message.
func (o *outbox) close(last Status) {
	for server := range o.held {
		o.release(server, "")
	}
	o.put(last)
	o.closed = true
}

// flush sends what is in the outbox. It never blocks: to a coroutine of another runtime, a
// goroutine sends.
func (p *Computation) flush() {
	p.mu.Lock()
	send := !p.outbox.busy && len(p.outbox.items) > 0
	if send {
		p.outbox.busy = true
	}
	elsewhere := p.status != nil && p.status.local == nil
	p.mu.Unlock()
	switch {
	case !send:
	case elsewhere:
		p.rt.start(p.sendOutbox)
	default:
		p.sendOutbox()
	}
}

// sendOutbox sends what is in the outbox, and what comes meanwhile, in order.
func (p *Computation) sendOutbox() {
	var out notices
	log := func(err error) {
		if err != nil {
			p.rt.log.Log(p.rt.ctx, noticeLevel(err), "cannot notify the status coroutine",
				slog.String("coro", out.to.String()), slog.Any("err", err))
		}
	}
	for {
		p.mu.Lock()
		items, status := p.outbox.items, p.status
		p.outbox.items = nil
		p.outbox.busy = len(items) > 0
		p.mu.Unlock()
		if len(items) == 0 {
			return
		}
		if status == nil {
			continue
		}
		out.to = status
		for _, msg := range items {
			log(out.send(p.rt.ctx, msg))
		}
		log(out.await(p.rt.ctx))
	}
}
