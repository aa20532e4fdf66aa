package discoro

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

// netHost is what links need of the runtime that has them. Its methods are safe for concurrent use, and only wait waits.
type netHost interface {
	// start starts a goroutine, which the runtime's Close waits for. After Close it does nothing and returns false.
	start(f func()) bool
	// wait waits until k is finished or ctx ends. A coroutine gives up the turn meanwhile.
	wait(ctx context.Context, k *call.Call) (call.Outcome, error)
	// frame hands a frame to its owner. It runs on the link's reader, or on whoever posts to the runtime itself. An error
	// is a breach of the protocol.
	frame(l *link, f wire.Frame) error
	// up says that l is up, before any frame of it is handed over.
	up(l *link)
	// down says that l has ended because of err: wasUp, up has said before that it was up. No other link to the same
	// runtime comes up before it has returned.
	down(l *link, wasUp bool, err error)
	// stream does what the peer asks for on a stream that it has opened, in a goroutine of its own. An error is a breach of
	// the protocol.
	stream(l *link, s transport.PeerStream) error
	// encode encodes the answer to a call. What cannot be encoded becomes an error.
	encode(out call.Outcome) *wire.Outcome
}

// netConfig says what a runtime's links need to know. All of it is immutable.
type netConfig struct {
	id         wire.ID
	loc        Location          // announced
	hello      func() wire.Hello // what the runtime says of itself, but for Epoch and Pulse
	protect    *wire.Protection  // of connections
	listener   net.Listener      // for links that others dial; the net closes it
	dial       func(ctx context.Context, to Location) (net.Conn, error)
	lookup     func(ctx context.Context, host string) ([]string, error)
	maxMessage int           // bytes
	msgTimeout time.Duration // for a dial, and for room in a link's queue
	pulse      time.Duration // how often a link gives a sign of life
	log        *slog.Logger
	warnings   *ratelog.Log // limits what others can make the runtime log
}

// linkNet is a runtime's links: the one to each other runtime, and the one to itself.
type linkNet struct {
	cfg  netConfig       // immutable
	host netHost         // immutable
	ctx  context.Context //nolint:containedctx // immutable: done when the runtime begins to end its goroutines
	self *link           // immutable: to the runtime itself; always up, and not in links

	beat      heartbeat     // signs of life on links
	epoch     atomic.Uint64 // counts greetings: which of two came later
	traffic   traffic       // what went over the links
	greetings greetings     // connections that are not links yet

	mu      sync.Mutex // guards following; leaf
	closing bool       // no new link is made
	links   map[wire.ID]*link
	lost    chan struct{} // closed, and made anew, when a link has ended
}

func newNet(ctx context.Context, cfg netConfig, host netHost) *linkNet {
	n := &linkNet{cfg: cfg, host: host, ctx: ctx, links: map[wire.ID]*link{}, lost: make(chan struct{})}
	n.beat.begin(cfg.pulse)
	n.self = n.newLink(cfg.id, cfg.loc, linkUp)
	return n
}

// begin accepts connections, and gives signs of life.
func (n *linkNet) begin() {
	n.host.start(n.accept)
	n.host.start(n.pulses)
}

// refuse makes no new links from now on; those that end meanwhile say that the runtime is closed.
func (n *linkNet) refuse() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closing = true
}

// isClosing reports whether refuse was called.
func (n *linkNet) isClosing() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.closing
}

// bye closes all links in order: see link.bye.
func (n *linkNet) bye(ctx context.Context, reason string) {
	var wg sync.WaitGroup
	for _, l := range n.all() {
		wg.Go(func() { l.bye(ctx, reason) })
	}
	wg.Wait()
}

// sever ends all links at once, without a word to the peers.
func (n *linkNet) sever(cause error) {
	for _, l := range n.all() {
		l.fail(cause)
	}
}

// close closes the listener. The goroutines end when ctx does.
func (n *linkNet) close() error { return n.cfg.listener.Close() }

// maxFrame returns how large a frame from a peer may be.
func (n *linkNet) maxFrame() int { return max(n.cfg.maxMessage, minFrame) + wire.FrameOverhead }

// hello is what the runtime says of itself in a greeting.
func (n *linkNet) hello() wire.Hello {
	h := n.cfg.hello()
	h.Epoch, h.Pulse = n.epoch.Add(1), n.beat.usual
	return h
}

func (n *linkNet) newLink(id wire.ID, loc Location, state linkState) *link {
	return &link{
		net: n, id: id, loc: loc, state: state,
		more: make(chan struct{}, 1), ready: make(chan struct{}), ended: make(chan struct{}), told: make(chan struct{}),
		calls: map[uint64]call.Answerer{}, served: map[uint64]func(){}, streams: newLinkStreams(),
	}
}

// linkTo returns the link to another runtime, dialling when there is none. It never blocks.
func (n *linkNet) linkTo(id wire.ID, loc Location) *link {
	if id == n.cfg.id {
		return n.self
	}
	if id.IsZero() { // a handle that was made up: nobody has that identity, and anybody would do for a dial
		return n.deadLink(id, loc, fmt.Errorf("no runtime has the identity zero: %w", ErrNotFound))
	}
	l, fresh := n.linkFor(id, loc)
	switch {
	case l == nil:
		return n.deadLink(id, loc, errRuntimeClosed)
	case fresh && !n.host.start(func() { n.dialLink(l, loc) }):
		l.endDial(ErrClosed)
	}
	return l
}

// deadLink returns a link that is down and in no table.
func (n *linkNet) deadLink(id wire.ID, loc Location, cause error) *link {
	l := n.newLink(id, loc, linkDown)
	l.err = errDown(loc, cause)
	close(l.ready)
	close(l.ended)
	close(l.told)
	return l
}

// linkIf returns the link to another runtime if there is one.
func (n *linkNet) linkIf(id wire.ID) *link {
	if id == n.cfg.id {
		return n.self
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.links[id]
}

// all returns the links to other runtimes, also those that are not up yet.
func (n *linkNet) all() []*link {
	n.mu.Lock()
	defer n.mu.Unlock()
	links := make([]*link, 0, len(n.links))
	for _, l := range n.links {
		links = append(links, l)
	}
	return links
}

// linkAt returns the link to whatever runtime is at loc. It blocks until that has been dialled, or ctx ends.
func (n *linkNet) linkAt(ctx context.Context, loc Location) (*link, error) {
	if loc == n.cfg.loc {
		return n.self, nil
	}
	if loc.Addr == "" || loc.Port == 0 {
		return nil, fault.New(fmt.Sprintf("connect to %q: it is not the location of a runtime", loc), ErrDisconnected)
	}
	for _, l := range n.all() {
		if l.leadsTo(loc) {
			return l, nil
		}
	}
	var l *link
	var err error
	dctx, stop := context.WithCancel(n.ctx)
	defer stop()
	k := call.New(waitConnect, nil)
	if !n.host.start(func() {
		l, err = n.dial(dctx, loc, nil)
		k.Finish(call.Outcome{})
	}) {
		return nil, fmt.Errorf("connect to %v: %w", loc, errRuntimeClosed)
	}
	if _, err := n.host.wait(ctx, k); err != nil {
		return nil, fmt.Errorf("connect to %v: %w", loc, err)
	}
	return l, err
}

// linkFor returns the link to another runtime from the table. Where there is none, or one that has ended, it makes one
// with one dial under way, which the caller ends. It returns nil when there is none and the runtime is closing.
func (n *linkNet) linkFor(id wire.ID, loc Location) (l *link, fresh bool) {
	var old *link // seen to be down
	for {
		n.mu.Lock()
		l := n.links[id]
		switch {
		case l != nil && l != old:
		case n.closing:
			l = nil
		default:
			l = n.newLink(id, loc, linkDialing)
			l.prev, l.dials = old, 1
			n.links[id] = l
			n.mu.Unlock()
			return l, true
		}
		n.mu.Unlock()
		if l == nil || l.cause() == nil {
			return l, false
		}
		old = l
	}
}

// wentDown tells the roles, and then lets go of the link: what comes up with the same runtime afterwards, the roles hear
// of afterwards.
func (n *linkNet) wentDown(l *link, wasUp bool, err error) {
	if wasUp {
		n.cfg.log.Debug("link down", slog.String("peer", l.location().String()), slog.Any("err", err))
	}
	n.host.down(l, wasUp, err)
	close(l.told)
	n.mu.Lock()
	if n.links[l.id] == l {
		delete(n.links, l.id)
	}
	lost := n.lost
	n.lost = make(chan struct{})
	n.mu.Unlock()
	close(lost)
}

// pause waits for d, or until the goroutines are to end.
func (n *linkNet) pause(d time.Duration) error {
	if !waitFor(n.ctx, d, nil) {
		return n.ctx.Err()
	}
	return nil
}
