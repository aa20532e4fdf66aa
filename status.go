package discoro

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/discoro/discoro/wire"
)

// StatusKind says what a [Status] tells. The numbers are asyncoro's.
type StatusKind uint8

// What a Status can tell, in the order in which it happens.
const (
	NodeDiscovered       StatusKind = wire.StatusNodeDiscovered       // a node is known, and will be used if it fits
	NodeInitialized      StatusKind = wire.StatusNodeInitialized      // the first server of a node is about to be usable
	NodeClosed           StatusKind = wire.StatusNodeClosed           // a node serves the computation no longer
	NodeIgnore           StatusKind = wire.StatusNodeIgnore           // a node does not fit, or refused; Reason says why
	NodeDisconnected     StatusKind = wire.StatusNodeDisconnected     // the link to a node broke
	ServerDiscovered     StatusKind = wire.StatusServerDiscovered     // a server exists and is being set up
	ServerInitialized    StatusKind = wire.StatusServerInitialized    // a server can be used
	ServerClosed         StatusKind = wire.StatusServerClosed         // a server serves the computation no longer
	ServerIgnore         StatusKind = wire.StatusServerIgnore         // a server could not be set up; Reason says why
	ServerDisconnected   StatusKind = wire.StatusServerDisconnected   // a server was lost, with what it ran
	CoroCreated          StatusKind = wire.StatusCoroCreated          // a run has started; Coro tells which
	ComputationScheduled StatusKind = wire.StatusComputationScheduled // the computation's turn has come
	ComputationClosed    StatusKind = wire.StatusComputationClosed    // it is over: the last message
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

// Status is what a computation's status coroutine receives when a node, a server or the computation changes state, or a
// run has started. In asyncoro: DiscoroStatus. The order can be relied upon: a node is discovered before its
// servers, each is discovered before it is initialized, CoroCreated comes before that coroutine's [Exit], servers close
// before their node, and ComputationClosed comes last.
type Status struct {
	Kind   StatusKind
	Node   string   // the node's location, "host:port"
	Server Location // for a server's kinds, and the coroutine's server for CoroCreated
	Coro   CoroInfo // for CoroCreated
	Reason string   // why, for Ignore, Closed and Disconnected
}

// String gives what is set, for people.
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

// CoroInfo tells what a coroutine of a computation runs.
type CoroInfo struct {
	Coro  *Coro
	Func  string
	Arg   any       // the argument, as the client gave it
	Start time.Time // by the server's clock
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

// outbox holds what a computation's status coroutine is to be told, in the order that is promised, though frames come over
// links that know no order among each other. It is guarded by the computation's mu.
type outbox struct {
	items  []any
	held   map[Location][]any // of jobs at servers whose ServerInitialized is still to come
	busy   bool               // somebody sends
	closed bool               // ComputationClosed was put
}

func (o *outbox) put(msg any) {
	if !o.closed {
		o.items = append(o.items, msg)
	}
}

// putJob puts what concerns a job at a server, behind that server's ServerInitialized; known says which came.
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

// release puts what was held for a server of node.
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

// close puts the last message; nothing follows it.
func (o *outbox) close(last Status) {
	for server := range o.held {
		o.release(server, "")
	}
	o.put(last)
	o.closed = true
}

// flush sends what is in the outbox. It never blocks: a status coroutine of another runtime is told in a goroutine.
func (p *Computation) flush() {
	p.mu.Lock()
	send := !p.told.busy && len(p.told.items) > 0
	if send {
		p.told.busy = true
	}
	elsewhere := p.status != nil && p.status.local == nil
	p.mu.Unlock()
	switch {
	case !send:
	case elsewhere:
		p.rt.start(p.sendTold)
	default:
		p.sendTold()
	}
}

// sendTold sends what is in the outbox, and what comes meanwhile, in order.
func (p *Computation) sendTold() {
	var out notices
	tell := func(err error) {
		if err != nil {
			p.rt.log.Log(p.rt.ctx, noticeLevel(err), "the status coroutine is not told", slog.String("coro", out.to.String()), slog.Any("err", err))
		}
	}
	for {
		p.mu.Lock()
		items, status := p.told.items, p.status
		p.told.items = nil
		p.told.busy = len(items) > 0
		p.mu.Unlock()
		if len(items) == 0 {
			return
		}
		if status == nil {
			continue
		}
		out.to = status
		for _, msg := range items {
			tell(out.send(p.rt.ctx, msg))
		}
		tell(out.await(p.rt.ctx))
	}
}
