package link

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/ratelog"
	"github.com/discoro/discoro/internal/transport"
	"github.com/discoro/discoro/wire"
)

// What the calls of this package wait for, as the state of a coroutine that waits shows it.
const (
	whySend    = "Send"
	whyConnect = "Connect"
)

// Host is the runtime that has the links. Its methods are safe for concurrent use, and only Wait
// blocks.
type Host interface {
	// Start starts a goroutine, for which the runtime's Close waits. After Close it does nothing and
	// returns false.
	Start(f func()) bool
	// Wait waits until k is finished or ctx ends. A coroutine gives up the turn meanwhile.
	Wait(ctx context.Context, k *call.Call) (call.Outcome, error)
	// Frame takes a frame that has come over l. It runs on the link's reader, and for the link of
	// the runtime to itself in the goroutine that posts the frame. An error is a breach of the
	// protocol by the peer.
	Frame(l *Link, f wire.Frame) error
	// Up notifies the host that l is up. No frame of l comes before it has returned.
	Up(l *Link)
	// Down notifies the host that l has ended because of err, exactly once. wasUp reports whether Up was
	// called. No other link to the same runtime comes up before Down has returned. A frame of l may still
	// come after it, as the reader may be handing one over.
	Down(l *Link, wasUp bool, err error)
	// Stream does what the peer asks for on a stream that it has opened. Each stream has a goroutine of
	// its own, so Stream may block. An error is a breach of the protocol.
	Stream(l *Link, s transport.PeerStream) error
	// Encode encodes the answer to a call. Where that is not possible it encodes the reason.
	Encode(out call.Outcome) *wire.Outcome
}

// Config is what the links of a runtime have to know. All of it is immutable.
type Config struct {
	ID         wire.ID
	Location   Location          // announced to others
	Hello      func() wire.Hello // the greeting, without Epoch and Pulse
	Protect    *wire.Protection  // of connections; nil: none
	Listener   net.Listener      // for the connections of others; Net closes it
	Dial       func(ctx context.Context, to Location) (net.Conn, error)
	Lookup     func(ctx context.Context, host string) ([]string, error)
	MaxMessage int           // bytes
	MsgTimeout time.Duration // of a dial, and of a wait for room in a link's queue
	Pulse      time.Duration // the interval of signs of life while SetPulse has asked for none
	Log        *slog.Logger
	Warnings   *ratelog.Log // limits what others can make the runtime log
}

// Net is the links of a runtime: one to each other runtime, and one to itself. Its methods are safe
// for concurrent use.
type Net struct {
	Self *Link // immutable: to the runtime itself; always up, and not in links

	cfg  Config          // immutable
	host Host            // immutable
	ctx  context.Context //nolint:containedctx // immutable: done when the runtime ends its goroutines

	beat      heartbeat     // the interval of signs of life
	epoch     atomic.Uint64 // counts this side's greetings, so that peers know which of two is later
	traffic   traffic       // counts frames and bytes
	greetings greetings     // connections that are not links yet

	mu      sync.Mutex // guards following; leaf
	closing bool       // no new link is made
	links   map[wire.ID]*Link
	lost    chan struct{} // closed, and replaced, whenever a link has ended
}

// New returns the links of a runtime. Nothing happens before Begin. All goroutines end when ctx does.
func New(ctx context.Context, cfg Config, host Host) *Net {
	n := &Net{cfg: cfg, host: host, ctx: ctx, links: map[wire.ID]*Link{}, lost: make(chan struct{})}
	n.beat.begin(cfg.Pulse)
	n.Self = n.newLink(cfg.ID, cfg.Location, stateUp)
	return n
}

// Begin starts to accept connections and to send signs of life.
func (n *Net) Begin() {
	n.host.Start(n.accept)
	n.host.Start(n.pulses)
}

// Refuse is the first step of closing: no link is made any more. The error of a link that ends from
// now on wraps fault.Closed.
func (n *Net) Refuse() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closing = true
}

// isClosing reports whether Refuse was called.
func (n *Net) isClosing() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.closing
}

// Bye closes all links in order; see [Link.Bye].
func (n *Net) Bye(ctx context.Context, reason string) {
	var wg sync.WaitGroup
	for _, l := range n.All() {
		wg.Go(func() { l.Bye(ctx, reason) })
	}
	wg.Wait()
}

// Sever ends all links at once, as if the process had been killed: the peers get no reason.
func (n *Net) Sever(cause error) {
	for _, l := range n.All() {
		l.Fail(cause)
	}
}

// Close closes the listener, so that Begin's goroutines end once ctx has ended.
func (n *Net) Close() error { return n.cfg.Listener.Close() }

// Addr returns the address of the listener.
func (n *Net) Addr() net.Addr { return n.cfg.Listener.Addr() }

// MaxFrame returns how many bytes a frame of a peer may have.
func (n *Net) MaxFrame() int { return max(n.cfg.MaxMessage, minFrame) + wire.FrameOverhead }

// Unproven returns how many connections have been accepted and have not proven themselves yet.
func (n *Net) Unproven() int {
	n.greetings.mu.Lock()
	defer n.greetings.mu.Unlock()
	return len(n.greetings.list)
}

// hello returns the greeting of this side.
func (n *Net) hello() wire.Hello {
	h := n.cfg.Hello()
	h.Epoch, h.Pulse = n.epoch.Add(1), n.beat.usual
	return h
}

// To returns the link to another runtime. If there is none, it makes one and dials loc. It never
// blocks. If the link cannot be made, To returns one that has ended.
func (n *Net) To(id wire.ID, loc Location) *Link {
	if id == n.cfg.ID {
		return n.Self
	}
	if id.IsZero() { // of a forged handle: no runtime has it, and the dial would accept any runtime
		return n.deadLink(id, loc, fmt.Errorf("no runtime has the identity zero: %w", fault.NotFound))
	}
	l, fresh := n.linkFor(id, loc)
	switch {
	case l == nil:
		return n.deadLink(id, loc, fault.RuntimeClosed)
	case fresh && !n.host.Start(func() { n.dialLink(l, loc) }):
		l.endDial(fault.Closed)
	}
	return l
}

// deadLink returns a link that has ended and is in no table.
func (n *Net) deadLink(id wire.ID, loc Location, cause error) *Link {
	l := n.newLink(id, loc, stateDown)
	l.err = errDown(loc, cause)
	close(l.ready)
	close(l.ended)
	close(l.notified)
	return l
}

// If returns the link to another runtime if there is one, up or not, and nil otherwise.
func (n *Net) If(id wire.ID) *Link {
	if id == n.cfg.ID {
		return n.Self
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.links[id]
}

// All returns the links to other runtimes, up or not.
func (n *Net) All() []*Link {
	n.mu.Lock()
	defer n.mu.Unlock()
	links := make([]*Link, 0, len(n.links))
	for _, l := range n.links {
		links = append(links, l)
	}
	return links
}

// At returns the link to the runtime that listens at loc, once it is up. It dials if no link leads
// there, and blocks until the dial has ended, or until ctx ends.
func (n *Net) At(ctx context.Context, loc Location) (*Link, error) {
	if loc == n.cfg.Location {
		return n.Self, nil
	}
	if loc.Addr == "" || loc.Port == 0 {
		return nil, fault.New(fmt.Sprintf("connect to %q: it is not the location of a runtime", loc), fault.Disconnected)
	}
	for _, l := range n.All() {
		if l.leadsTo(loc) {
			return l, nil
		}
	}
	var l *Link
	var err error
	dctx, stop := context.WithCancel(n.ctx)
	defer stop()
	k := call.New(whyConnect, nil)
	if !n.host.Start(func() {
		l, err = n.dial(dctx, loc, nil)
		k.Finish(call.Outcome{})
	}) {
		return nil, fmt.Errorf("connect to %v: %w", loc, fault.RuntimeClosed)
	}
	if _, err := n.host.Wait(ctx, k); err != nil {
		return nil, fmt.Errorf("connect to %v: %w", loc, err)
	}
	return l, err
}

// linkFor returns the link to another runtime from the table. If there is none, or if it has ended,
// linkFor makes one with one dial under way, which the caller ends. It returns nil when there is
// none and none may be made, because the runtime is closing. Making a link and looking at closing
// are one step under mu. So a goroutine that has set closing sees all links afterwards.
func (n *Net) linkFor(id wire.ID, loc Location) (l *Link, fresh bool) {
	var old *Link // has ended
	for {
		n.mu.Lock()
		l := n.links[id]
		switch {
		case l != nil && l != old:
		case n.closing:
			l = nil
		default:
			l = n.newLink(id, loc, stateDialing)
			l.prev, l.dials = old, 1
			n.links[id] = l
			n.mu.Unlock()
			return l, true
		}
		n.mu.Unlock()
		if l == nil || l.Cause() == nil { // the locks of a link and of its Net are never held together
			return l, false
		}
		old = l
	}
}

// wentDown notifies the host of the end of a link, and then removes the link from the table. The next
// link to the same runtime waits for l.notified, so the host is notified of all links in order.
func (n *Net) wentDown(l *Link, wasUp bool, err error) {
	if wasUp {
		n.cfg.Log.Debug("link down", slog.String("peer", l.Location().String()), slog.Any("err", err))
	}
	n.host.Down(l, wasUp, err)
	close(l.notified)
	n.mu.Lock()
	if n.links[l.ID] == l {
		delete(n.links, l.ID)
	}
	lost := n.lost
	n.lost = make(chan struct{})
	n.mu.Unlock()
	close(lost)
}

// pause waits for d, or until the goroutines are to end.
func (n *Net) pause(d time.Duration) error {
	if !waitFor(n.ctx, d, nil) {
		return n.ctx.Err()
	}
	return nil
}
