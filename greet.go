package discoro

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/discoro/discoro/internal/transport"
	"github.com/discoro/discoro/wire"
)

// Bounds of connections that are not links yet. Where one more would be too many, the oldest makes room for it if it has
// had time enough to prove itself; else the new one is closed, and a peer of ours tries again. So a thousand connections
// that never speak hold 128 sockets for a few seconds, and a peer that does speak gets in among them.
const (
	maxGreetings   = 128                    // in total
	maxGreetingsAt = 16                     // from one address; loopback is one like others
	greetingTime   = 250 * time.Millisecond // is enough, when others wait
)

// greetings are the connections that are not links yet.
type greetings struct {
	mu    sync.Mutex // guards following; leaf
	list  []*greeting
	count map[netip.Addr]int
}

// greeting is one of them.
type greeting struct {
	raw   net.Conn   // immutable
	from  netip.Addr // immutable: as addressOf gives it
	since time.Time  // immutable
}

// add books a connection. evicted, if there is one, is to be closed for it; a nil g means that raw is.
func (gs *greetings) add(raw net.Conn, now time.Time) (g, evicted *greeting) {
	g = &greeting{raw: raw, from: addressOf(raw.RemoteAddr()), since: now}
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if gs.count == nil {
		gs.count = map[netip.Addr]int{}
	}
	atAddr := gs.count[g.from] >= maxGreetingsAt
	if atAddr || len(gs.list) >= maxGreetings {
		i := slices.IndexFunc(gs.list, func(old *greeting) bool { return !atAddr || old.from == g.from })
		evicted = gs.list[i] // the oldest, as they are in order
		if now.Sub(evicted.since) < greetingTime {
			return nil, nil
		}
		gs.removeLocked(evicted)
	}
	gs.list = append(gs.list, g)
	gs.count[g.from]++
	return g, evicted
}

// remove takes a connection out of the books, if it still is in them.
func (gs *greetings) remove(g *greeting) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	gs.removeLocked(g)
}

func (gs *greetings) removeLocked(g *greeting) {
	i := slices.Index(gs.list, g)
	if i < 0 {
		return
	}
	gs.list = slices.Delete(gs.list, i, i+1)
	if gs.count[g.from]--; gs.count[g.from] == 0 {
		delete(gs.count, g.from)
	}
}

// addressOf is what counts as one address: an IPv4 address, or the network of an IPv6 address, which one host may have.
func addressOf(a net.Addr) netip.Addr {
	if mem, ok := a.(interface{ IP() netip.Addr }); ok { // in memory
		return mem.IP()
	}
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	if ip.Is6() && !ip.IsLoopback() {
		p, _ := ip.Prefix(64) // fails for no IPv6 address
		return p.Addr()
	}
	return ip
}

// accept owns the listener. It ends when that is closed.
func (rt *Runtime) accept() {
	if rt.cfg.protect.Ready(rt.ctx) != nil {
		return
	}
	for {
		raw, err := rt.ln.Accept()
		if err != nil {
			if rt.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			rt.warnings.Warn(rt.log, "accept", "cannot accept connections; trying again", slog.Any("err", err))
			if rt.pause(100*time.Millisecond) != nil { // out of file descriptors, for one
				return
			}
			continue
		}
		rt.greetNext(raw)
	}
}

// greetNext greets a connection, if there is room for it.
func (rt *Runtime) greetNext(raw net.Conn) {
	g, evicted := rt.greetings.add(raw, time.Now())
	if evicted != nil {
		_ = evicted.raw.Close() // its greeting fails, and tells
	}
	if g == nil {
		_ = raw.Close()
		rt.tellRefused(raw, errors.New("too many connections have not proven themselves"))
		return
	}
	if !rt.start(func() { rt.greet(g) }) {
		_ = raw.Close()
	}
}

// pause waits for d, or until the runtime ends.
func (rt *Runtime) pause(d time.Duration) error {
	if !waitFor(rt.ctx, d, nil) {
		return rt.ctx.Err()
	}
	return nil
}

// greet finds out who has dialled, and makes it a link.
func (rt *Runtime) greet(g *greeting) {
	defer rt.greetings.remove(g)
	var l *link
	var c *claim
	conn, peer, err := wire.Accept(rt.ctx, g.raw, rt.cfg.protect, rt.hello, func(peer wire.Hello) (refusal *wire.Refusal) {
		l, c, refusal = rt.admit(peer)
		rt.greetings.remove(g) // it has proven itself, and makes room for nobody
		return refusal
	})
	var t *transport.Conn
	if err == nil {
		t, err = transport.New(rt.ctx, conn, false)
	}
	if err != nil {
		if c != nil {
			l.release(c, err) // a proven peer went meanwhile: nothing to be warned of
			rt.log.Debug("a peer went while its link was made", slog.Any("err", err))
			return
		}
		rt.tellRefused(g.raw, err)
		return
	}
	l.up(c, t, peer)
}

// admit decides on a proven peer that has dialled.
func (rt *Runtime) admit(peer wire.Hello) (*link, *claim, *wire.Refusal) {
	for {
		l, fresh := rt.linkFor(peer.ID, Location{Addr: peer.Host, Port: peer.Port})
		if l == nil {
			return nil, nil, &wire.Refusal{Code: wire.RefuseClosed, Text: "the listener is closing"}
		}
		c, refusal, lost := l.claimAccepted(peer)
		if fresh {
			l.endDial(nil) // there was none; it has the claim
		}
		if !lost {
			return l, c, refusal
		}
		l.fail(errors.New("the peer has lost it and dials anew"))
	}
}

// tellRefused tells of a connection that did not become a link, unless it is nobody's mistake.
func (rt *Runtime) tellRefused(raw net.Conn, err error) {
	var refusal *wire.Refusal
	if errors.As(err, &refusal) && (refusal.Code == wire.RefuseDuplicate || refusal.Code == wire.RefuseClosed) || rt.ctx.Err() != nil {
		return
	}
	rt.warnings.Warn(rt.log, addressOf(raw.RemoteAddr()).String(), "refused a connection",
		slog.String("peer", raw.RemoteAddr().String()), slog.Any("err", err))
}

// hello is what the runtime says of itself in a greeting.
func (rt *Runtime) hello() wire.Hello {
	return wire.Hello{
		ID: rt.id, Name: rt.cfg.Name, Host: rt.loc.Addr, Port: rt.loc.Port, Build: rt.build,
		Registry: registry.hash(), Epoch: rt.epoch.Add(1), Roles: rt.roles, Pulse: rt.beat.usual,
	}
}
