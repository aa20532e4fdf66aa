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

// Host is what links need of the runtime that has them. Its methods are safe for concurrent use, and only wait waits.
type Host interface {
	// start starts a goroutine, which the runtime's Close waits for. After Close it does nothing and returns false.
	Start(f func()) bool
	// wait waits until k is finished or ctx ends. A coroutine gives up the turn meanwhile.
	Wait(ctx context.Context, k *call.Call) (call.Outcome, error)
	// frame hands a frame to its owner. It runs on the link's reader, or on whoever posts to the runtime itself. An error
	// is a breach of the protocol.
	Frame(l *Link, f wire.Frame) error
	// up says that l is up, before any frame of it is handed over.
	Up(l *Link)
	// down says that l has ended because of err: wasUp, up has said before that it was up. No other link to the same
	// runtime comes up before it has returned.
	Down(l *Link, wasUp bool, err error)
	// stream does what the peer asks for on a stream that it has opened, in a goroutine of its own. An error is a breach of
	// the protocol.
	Stream(l *Link, s transport.PeerStream) error
	// encode encodes the answer to a call. What cannot be encoded becomes an error.
	Encode(out call.Outcome) *wire.Outcome
}

// Config says what a runtime's links need to know. All of it is immutable.
type Config struct {
	ID         wire.ID
	Location   Location          // announced
	Hello      func() wire.Hello // what the runtime says of itself, but for Epoch and Pulse
	Protect    *wire.Protection  // of connections
	Listener   net.Listener      // for links that others dial; the net closes it
	Dial       func(ctx context.Context, to Location) (net.Conn, error)
	Lookup     func(ctx context.Context, host string) ([]string, error)
	MaxMessage int           // bytes
	MsgTimeout time.Duration // for a dial, and for room in a link's queue
	Pulse      time.Duration // how often a link gives a sign of life
	Log        *slog.Logger
	Warnings   *ratelog.Log // limits what others can make the runtime log
}

// Net is a runtime's links: the one to each other runtime, and the one to itself.
type Net struct {
	cfg  Config          // immutable
	host Host            // immutable
	ctx  context.Context //nolint:containedctx // immutable: done when the runtime begins to end its goroutines
	Self *Link           // immutable: to the runtime itself; always up, and not in links

	beat      heartbeat     // signs of life on links
	epoch     atomic.Uint64 // counts greetings: which of two came later
	traffic   traffic       // what went over the links
	greetings greetings     // connections that are not links yet

	mu      sync.Mutex // guards following; leaf
	closing bool       // no new link is made
	links   map[wire.ID]*Link
	lost    chan struct{} // closed, and made anew, when a link has ended
}

// New returns the links of a runtime. They are idle until Begin. Their goroutines end when ctx does.
func New(ctx context.Context, cfg Config, host Host) *Net {
	n := &Net{cfg: cfg, host: host, ctx: ctx, links: map[wire.ID]*Link{}, lost: make(chan struct{})}
	n.beat.begin(cfg.Pulse)
	n.Self = n.newLink(cfg.ID, cfg.Location, stateUp)
	return n
}

// Begin accepts connections, and gives signs of life.
func (n *Net) Begin() {
	n.host.Start(n.accept)
	n.host.Start(n.pulses)
}

// Refuse makes no new links from now on; those that end meanwhile say that the runtime is closed.
func (n *Net) Refuse() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closing = true
}

// isClosing reports whether refuse was called.
func (n *Net) isClosing() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.closing
}

// Bye closes all links in order: see link.bye.
func (n *Net) Bye(ctx context.Context, reason string) {
	var wg sync.WaitGroup
	for _, l := range n.All() {
		wg.Go(func() { l.Bye(ctx, reason) })
	}
	wg.Wait()
}

// Sever ends all links at once, without a word to the peers.
func (n *Net) Sever(cause error) {
	for _, l := range n.All() {
		l.Fail(cause)
	}
}

// Close closes the listener. The goroutines end when ctx does.
func (n *Net) Close() error { return n.cfg.Listener.Close() }

// SetPulse takes back what a computation asked for, and counts what one asks for now: signs of life that often; 0 is
// nothing.
func (n *Net) SetPulse(was, is time.Duration) { n.beat.change(was, is) }

// Pulse returns how often links give a sign of life.
func (n *Net) Pulse() time.Duration { return n.beat.now() }

// Unproven returns how many connections have not proven themselves yet.
func (n *Net) Unproven() int {
	n.greetings.mu.Lock()
	defer n.greetings.mu.Unlock()
	return len(n.greetings.list)
}

// Addr returns the address of the listener.
func (n *Net) Addr() net.Addr { return n.cfg.Listener.Addr() }

// Traffic returns what went over the links so far, except what went to the runtime itself.
func (n *Net) Traffic() Traffic {
	t := &n.traffic
	return Traffic{
		FramesSent: t.framesSent.Load(), FramesReceived: t.framesReceived.Load(),
		BytesSent: t.bytesSent.Load(), BytesReceived: t.bytesReceived.Load(), Writes: t.writes.Load(),
	}
}

// MaxFrame returns how large a frame from a peer may be.
func (n *Net) MaxFrame() int { return max(n.cfg.MaxMessage, minFrame) + wire.FrameOverhead }

// hello is what the runtime says of itself in a greeting.
func (n *Net) hello() wire.Hello {
	h := n.cfg.Hello()
	h.Epoch, h.Pulse = n.epoch.Add(1), n.beat.usual
	return h
}

func (n *Net) newLink(id wire.ID, loc Location, state state) *Link {
	return &Link{
		net: n, ID: id, loc: loc, state: state,
		more: make(chan struct{}, 1), ready: make(chan struct{}), ended: make(chan struct{}), told: make(chan struct{}),
		calls: map[uint64]call.Answerer{}, served: map[uint64]func(){}, streams: newOwnStreams(),
	}
}

// To returns the link to another runtime, dialling when there is none. It never blocks.
func (n *Net) To(id wire.ID, loc Location) *Link {
	if id == n.cfg.ID {
		return n.Self
	}
	if id.IsZero() { // a handle that was made up: nobody has that identity, and anybody would do for a dial
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

// deadLink returns a link that is down and in no table.
func (n *Net) deadLink(id wire.ID, loc Location, cause error) *Link {
	l := n.newLink(id, loc, stateDown)
	l.err = errDown(loc, cause)
	close(l.ready)
	close(l.ended)
	close(l.told)
	return l
}

// If returns the link to another runtime if there is one.
func (n *Net) If(id wire.ID) *Link {
	if id == n.cfg.ID {
		return n.Self
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.links[id]
}

// All returns the links to other runtimes, also those that are not up yet.
func (n *Net) All() []*Link {
	n.mu.Lock()
	defer n.mu.Unlock()
	links := make([]*Link, 0, len(n.links))
	for _, l := range n.links {
		links = append(links, l)
	}
	return links
}

// At returns the link to whatever runtime is at loc. It blocks until that has been dialled, or ctx ends.
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

// linkFor returns the link to another runtime from the table. Where there is none, or one that has ended, it makes one
// with one dial under way, which the caller ends. It returns nil when there is none and the runtime is closing.
func (n *Net) linkFor(id wire.ID, loc Location) (l *Link, fresh bool) {
	var old *Link // seen to be down
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
		if l == nil || l.Cause() == nil {
			return l, false
		}
		old = l
	}
}

// wentDown tells the roles, and then lets go of the link: what comes up with the same runtime afterwards, the roles hear
// of afterwards.
func (n *Net) wentDown(l *Link, wasUp bool, err error) {
	if wasUp {
		n.cfg.Log.Debug("link down", slog.String("peer", l.Location().String()), slog.Any("err", err))
	}
	n.host.Down(l, wasUp, err)
	close(l.told)
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
