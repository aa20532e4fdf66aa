package link

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
	MaxGreetings   = 128                    // in total
	MaxGreetingsAt = 16                     // from one address; loopback is one like others
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
	atAddr := gs.count[g.from] >= MaxGreetingsAt
	if atAddr || len(gs.list) >= MaxGreetings {
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
func (n *Net) accept() {
	if n.cfg.Protect.Ready(n.ctx) != nil {
		return
	}
	for {
		raw, err := n.cfg.Listener.Accept()
		if err != nil {
			if n.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			n.cfg.Warnings.Warn(n.cfg.Log, "accept", "cannot accept connections; trying again", slog.Any("err", err))
			if n.pause(100*time.Millisecond) != nil { // out of file descriptors, for one
				return
			}
			continue
		}
		n.greetNext(raw)
	}
}

// greetNext greets a connection, if there is room for it.
func (n *Net) greetNext(raw net.Conn) {
	g, evicted := n.greetings.add(raw, time.Now())
	if evicted != nil {
		_ = evicted.raw.Close() // its greeting fails, and tells
	}
	if g == nil {
		_ = raw.Close()
		n.tellRefused(raw, errors.New("too many connections have not proven themselves"))
		return
	}
	if !n.host.Start(func() { n.greet(g) }) {
		_ = raw.Close()
	}
}

// greet finds out who has dialled, and makes it a link.
func (n *Net) greet(g *greeting) {
	defer n.greetings.remove(g)
	var l *Link
	var c *claim
	conn, peer, err := wire.Accept(n.ctx, g.raw, n.cfg.Protect, n.hello, func(peer wire.Hello) (refusal *wire.Refusal) {
		l, c, refusal = n.admit(peer)
		n.greetings.remove(g) // it has proven itself, and makes room for nobody
		return refusal
	})
	var t *transport.Conn
	if err == nil {
		t, err = transport.New(n.ctx, conn, false)
	}
	if err != nil {
		if c != nil {
			l.release(c, err) // a proven peer went meanwhile: nothing to be warned of
			n.cfg.Log.Debug("a peer went while its link was made", slog.Any("err", err))
			return
		}
		n.tellRefused(g.raw, err)
		return
	}
	l.up(c, t, peer)
}

// admit decides on a proven peer that has dialled.
func (n *Net) admit(peer wire.Hello) (*Link, *claim, *wire.Refusal) {
	for {
		l, fresh := n.linkFor(peer.ID, Location{Addr: peer.Host, Port: peer.Port})
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
		l.Fail(errors.New("the peer has lost it and dials anew"))
	}
}

// tellRefused tells of a connection that did not become a link, unless it is nobody's mistake.
func (n *Net) tellRefused(raw net.Conn, err error) {
	var refusal *wire.Refusal
	if errors.As(err, &refusal) && (refusal.Code == wire.RefuseDuplicate || refusal.Code == wire.RefuseClosed) || n.ctx.Err() != nil {
		return
	}
	n.cfg.Warnings.Warn(n.cfg.Log, addressOf(raw.RemoteAddr()).String(), "refused a connection",
		slog.String("peer", raw.RemoteAddr().String()), slog.Any("err", err))
}
