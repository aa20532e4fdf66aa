package discoro

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/discover"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/internal/transport"
	"github.com/discoro/discoro/wire"
)

// DefaultUDPPort is the port at which runtimes listen for questions on the local network, unless
// Config.UDPPort names another.
const DefaultUDPPort = 51350

// The pauses of a search: for each of them it sends a question, and waits that long for answers.
var (
	discoverPauses = []time.Duration{200 * time.Millisecond, 300 * time.Millisecond, 500 * time.Millisecond}
	locatePauses   = []time.Duration{150 * time.Millisecond, 250 * time.Millisecond}
)

// Connect makes a link to the runtime at addr, "host:port", and returns the location that this runtime
// announces. Where a link exists, Connect returns at once. Otherwise it blocks until the link is up, for
// at most Config.MsgTimeout or until ctx ends. It returns [ErrDisconnected] when nobody answers at addr,
// [ErrUnauthorized] when the secrets or certificates do not match, and [ErrRejected] when the other side
// has another version of the protocol, is this runtime itself, or refuses for another reason.
func (rt *Runtime) Connect(ctx context.Context, addr string) (Location, error) {
	loc, err := ParseLocation(addr)
	if err != nil {
		return Location{}, err
	}
	l, err := rt.linkAt(ctx, loc)
	if err != nil {
		return Location{}, fmt.Errorf("discoro: %w", err)
	}
	if l.IsSelf() {
		return Location{}, fmt.Errorf("discoro: connect to %v: that is this runtime itself: %w", loc, ErrRejected)
	}
	return Location(l.Location()), nil
}

// Disconnect closes the link to the runtime at loc. What was under way on it ends with ErrDisconnected
// on both sides. A peer in Config.Peers is dialled again. Disconnect blocks until what is queued has been
// sent, for at most 1 s. It returns [ErrNotFound] when there is no link to loc.
func (rt *Runtime) Disconnect(loc Location) error {
	links := slices.DeleteFunc(rt.net.All(), func(l *link.Link) bool { return Location(l.Location()) != loc })
	if len(links) == 0 && rt.isClosing() {
		return fmt.Errorf("discoro: disconnect %v: %w", loc, errRuntimeClosed)
	}
	if len(links) == 0 {
		return fmt.Errorf("discoro: disconnect %v: no link to it: %w", loc, ErrNotFound)
	}
	ctx, cancel := context.WithTimeout(rt.ctx, time.Second)
	defer cancel()
	for _, l := range links {
		k := call.New(waitDisconnect, nil)
		if !rt.start(func() {
			l.Bye(ctx, rt.String()+" disconnects")
			k.Finish(call.Outcome{})
		}) {
			return nil // Close closes the links
		}
		if _, err := rt.wait(context.Background(), k); err != nil {
			return err
		}
	}
	return nil
}

// Peers returns the locations of the runtimes that have a link to this one, sorted.
func (rt *Runtime) Peers() []Location {
	var locs []Location
	for _, l := range rt.net.All() {
		if _, up := l.Peer(); up {
			locs = append(locs, Location(l.Location()))
		}
	}
	slices.SortFunc(locs, compareLocations)
	return locs
}

// Discover looks for runtimes on the local network and connects to those that answer, as Connect does.
// A runtime that listens on loopback asks its own machine only. Only runtimes with the same
// Config.UDPPort and the same kind of protection answer, and with a secret only those that have it.
//
// Discover asks three times within a second. Then it blocks until each runtime that has answered is
// connected or cannot be, for at most Config.MsgTimeout more, or until ctx ends. It is no error if nobody
// answers, or if a runtime that has answered cannot be connected to; see [Runtime.Peers]. It returns
// [ErrRejected] when discovery is off, and [ErrClosed] when the runtime is closed. Any other error says
// that there is no network to ask on.
func (rt *Runtime) Discover(ctx context.Context) error {
	if rt.discovery == nil {
		return fmt.Errorf("discoro: discover: it is turned off: Config.UDPPort is negative: %w", ErrRejected)
	}
	dctx, stop := context.WithCancel(rt.ctx)
	defer stop()
	k := call.New(waitDiscover, nil)
	if !rt.start(func() {
		err := rt.discover(dctx)
		if rt.ctx.Err() != nil {
			err = fmt.Errorf("the runtime was closed meanwhile: %w", ErrClosed)
		}
		k.Finish(call.Outcome{Err: err})
	}) {
		return fmt.Errorf("discoro: discover: %w", errRuntimeClosed)
	}
	out, err := rt.wait(ctx, k)
	if err = errors.Join(err, out.Err); err != nil {
		return fault.Because(err, "discover")
	}
	return nil
}

// discover asks the local network once, and connects to the runtimes that answer. It blocks.
func (rt *Runtime) discover(ctx context.Context) error {
	return rt.discovery.Search(ctx, "", discoverPauses, func(ctx context.Context, f discover.Found) {
		if l := rt.net.If(f.ID); l != nil && l.IsUp() {
			return
		}
		at := Location{Addr: f.Host, Port: f.Port}
		if _, err := rt.linkAt(ctx, at); err != nil {
			rt.log.Debug("cannot connect to a runtime that was discovered",
				slog.String("peer", at.String()), slog.Any("err", err))
		}
	})
}

// Traffic counts what has gone over a runtime's links since its start.
type Traffic struct {
	FramesSent, FramesReceived uint64
	BytesSent, BytesReceived   uint64 // of frames, without what yamux and TLS add
	Writes                     uint64 // each carries all the frames that were queued at that moment
}

// Traffic returns the counts so far. What the runtime sends to itself does not count.
func (rt *Runtime) Traffic() Traffic {
	return Traffic(rt.net.Traffic())
}

// linkHost is a Runtime as the Host of its links: what a link needs from it, and what a link
// reports to it.
type linkHost Runtime

func (h *linkHost) rt() *Runtime { return (*Runtime)(h) }

func (h *linkHost) Start(f func()) bool { return h.rt().start(f) }

func (h *linkHost) Wait(ctx context.Context, k *call.Call) (call.Outcome, error) {
	return h.rt().wait(ctx, k)
}

func (h *linkHost) Frame(l *link.Link, f wire.Frame) error { return h.rt().dispatch(l, f) }

func (h *linkHost) Up(l *link.Link) { h.rt().linkCameUp(l) }

func (h *linkHost) Down(l *link.Link, wasUp bool, err error) { h.rt().linkEnded(l, wasUp, err) }

func (h *linkHost) Stream(l *link.Link, s transport.PeerStream) error { return h.rt().answerFile(l, s) }

func (h *linkHost) Encode(out call.Outcome) *wire.Outcome {
	o, err := encodeOutcome(h.rt(), out)
	if err != nil {
		return failed(err)
	}
	return o
}

// linkOf returns the link to the runtime that c runs in.
func (rt *Runtime) linkOf(c *Coro) *link.Link {
	if rt != c.rt { // a handle of another runtime in this process
		return rt.linkTo(c.home, c.loc)
	}
	if l := c.link.Load(); l != nil {
		select {
		case <-l.Ended():
		default:
			return l
		}
	}
	l := rt.linkTo(c.home, c.loc)
	c.link.Store(l)
	return l
}

// linkConfig returns the configuration of the runtime's links. Peers connect to ln.
func (rt *Runtime) linkConfig(ln net.Listener) link.Config {
	s := &rt.cfg
	return link.Config{
		ID: rt.id, Location: link.Location(rt.loc), Hello: rt.hello, Protect: s.protect,
		Listener: ln, Dial: rt.dialTCP, Lookup: s.lookup,
		MaxMessage: s.MaxMessage, MsgTimeout: s.MsgTimeout, Pulse: s.pulse, Log: rt.log, Warnings: &rt.warnings,
	}
}

// hello returns the runtime's greeting.
func (rt *Runtime) hello() wire.Hello {
	return wire.Hello{
		ID: rt.id, Name: rt.cfg.Name, Host: rt.loc.Addr, Port: rt.loc.Port, Build: rt.build,
		Registry: registry.hash(), Roles: rt.roles,
	}
}

// dialTCP connects to a location.
func (rt *Runtime) dialTCP(ctx context.Context, to link.Location) (net.Conn, error) {
	if h := rt.cfg.host; h != nil {
		return h.Dial(ctx, rt.loc.String(), to.String())
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", to.String())
}

// linkTo returns the link to another runtime, as link.Net.To does.
func (rt *Runtime) linkTo(id wire.ID, loc Location) *link.Link {
	return rt.net.To(id, link.Location(loc))
}

// linkAt returns the link to the runtime that listens at loc, as link.Net.At does.
func (rt *Runtime) linkAt(ctx context.Context, loc Location) (*link.Link, error) {
	return rt.net.At(ctx, link.Location(loc))
}

// sendAway sends msg to c, which is in another runtime or has ended. It waits for room in the link's queue.
func (rt *Runtime) sendAway(c *Coro, msg any) error {
	encode := func(dst []byte) ([]byte, error) { return rt.appendMessage(dst, msg) }
	l := rt.linkOf(c)
	var err error
	if !l.IsSelf() {
		err = l.Send(c.key, encode)
	} else if _, err = encode(nil); err == nil { // an error of the encoding comes first
		err = errEnded(c)
	}
	if err != nil {
		return fault.Because(err, "not sent to %v", c)
	}
	return nil
}

// openDiscovery opens the sockets for the questions of others. It returns nil where discovery is off.
func (rt *Runtime) openDiscovery() (*discover.Discovery, error) {
	s := &rt.cfg
	cfg := discover.Config{
		ID: rt.id, UDPPort: cmp.Or(s.UDPPort, DefaultUDPPort), Protect: s.protect, Deaf: s.deaf,
		Has:   func(name string) bool { return rt.named(name) != nil || rt.channels.named(name) != nil },
		Start: rt.start, Timeout: s.MsgTimeout + time.Second, Log: rt.log, Warnings: &rt.warnings,
	}
	if tcp, ok := rt.net.Addr().(*net.TCPAddr); ok {
		cfg.Listen, cfg.TCPPort = tcp.AddrPort().Addr().Unmap().WithZone(""), tcp.Port
	}
	switch {
	case s.UDPPort < 0:
		return nil, nil
	case s.inMemory():
		cfg.Memory, cfg.Group = s.host, [...]any{s.UDPPort, s.Secret}
		cfg.Found = discover.Found{ID: rt.id, Host: rt.loc.Addr, Port: rt.loc.Port}
	case !cfg.Listen.IsValid():
		return nil, nil
	}
	d, err := discover.Open(rt.ctx, cfg)
	switch {
	case err == nil:
	case s.UDPPort != 0:
		return nil, badField("UDPPort",
			"%d cannot be listened on: %w; choose another, the same everywhere, or -1 for no discovery", s.UDPPort, err)
	default:
		rt.log.Warn("cannot be discovered on the local network: the port for that cannot be listened on",
			slog.Int("port", cfg.UDPPort), slog.Any("err", err))
	}
	return d, nil
}

// beginDiscovery starts to answer questions, and with Config.DiscoverPeers to look for peers.
func (rt *Runtime) beginDiscovery() {
	if rt.discovery == nil {
		return
	}
	rt.discovery.Begin()
	if rt.cfg.DiscoverPeers {
		rt.start(func() {
			if err := rt.discover(rt.ctx); err != nil && rt.ctx.Err() == nil {
				rt.log.Warn("cannot look for peers on the local network", slog.Any("err", err))
			}
		})
	}
}

// locateNear asks on the local network which runtimes have something of that name, and then asks
// those for it.
func locateNear[T any](ctx context.Context, rt *Runtime, name string, ask locateOne[T]) (found T, err error) {
	sctx, stop := context.WithCancel(rt.ctx)
	defer stop()
	k := call.New(waitLocate, nil)
	if !rt.start(func() {
		err := rt.discovery.Search(sctx, name, locatePauses, func(ctx context.Context, f discover.Found) {
			if one, err := ask(ctx, name, Location{Addr: f.Host, Port: f.Port}); err == nil {
				k.Finish(call.Outcome{Value: one})
			}
		})
		if rt.ctx.Err() != nil {
			k.Finish(call.Outcome{Err: fmt.Errorf("the runtime was closed meanwhile: %w", ErrClosed)})
			return
		}
		if err == nil {
			err = errors.New("nobody on the local network has it")
		}
		k.Finish(call.Outcome{Err: fault.New(err.Error(), ErrNotFound, err)})
	}) {
		return found, errRuntimeClosed
	}
	out, err := rt.wait(ctx, k)
	if err != nil {
		return found, err
	}
	found, _ = out.Value.(T)
	return found, out.Err
}
