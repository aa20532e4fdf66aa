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

// Bounds of connections that are not links yet. If there are too many, a new one takes the place of
// the oldest, provided that one has had enough time to prove itself. Otherwise the new one is
// closed, and a correct peer tries again. So a thousand silent connections hold 128 sockets for a
// few seconds, and a peer gets in among them.
const (
	MaxGreetings   = 128                    // in all
	MaxGreetingsAt = 16                     // from one address, loopback included
	greetingTime   = 250 * time.Millisecond // is enough for a proof when others wait
)

// greetings are the connections that are not links yet.
type greetings struct {
	mu    sync.Mutex // guards following; leaf
	list  []*greeting
	count map[netip.Addr]int
}

// greeting is one such connection.
type greeting struct {
	raw   net.Conn   // immutable
	from  netip.Addr // immutable: see addressOf
	since time.Time  // immutable
}

// add adds a connection. If evicted is not nil, the caller closes it to make room for raw. If g is
// nil, there is no room, and the caller closes raw.
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
		evicted = gs.list[i] // the oldest, since list is in order
		if now.Sub(evicted.since) < greetingTime {
			return nil, nil
		}
		gs.removeLocked(evicted)
	}
	gs.list = append(gs.list, g)
	gs.count[g.from]++
	return g, evicted
}

// remove forgets a connection, unless that has been done.
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

// addressOf returns what counts as one address: an IPv4 address, or the /64 network of an IPv6
// address, because one host may have all addresses of such a network.
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
		p, _ := ip.Prefix(64) // which succeeds for every IPv6 address
		return p.Addr()
	}
	return ip
}

// accept owns the listener, and ends when that is closed.
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
			if n.pause(100*time.Millisecond) != nil { // there may be no file descriptors left
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
		_ = evicted.raw.Close() // its greeting fails, and logs that
	}
	if g == nil {
		_ = raw.Close()
		n.logRefused(raw, errors.New("too many connections have not proven themselves"))
		return
	}
	if !n.host.Start(func() { n.greet(g) }) {
		_ = raw.Close()
	}
}

// greet exchanges greetings with a peer that has dialled, and makes the connection a link.
func (n *Net) greet(g *greeting) {
	defer n.greetings.remove(g)
	var l *Link
	var c *claim
	conn, peer, err := wire.Accept(n.ctx, g.raw, n.cfg.Protect, n.hello, func(peer wire.Hello) (refusal *wire.Refusal) {
		l, c, refusal = n.admit(peer)
		n.greetings.remove(g) // it has proven itself: no other connection may take its place
		return refusal
	})
	var t *transport.Conn
	if err == nil {
		t, err = transport.New(n.ctx, conn, false)
	}
	if err != nil {
		if c != nil {
			l.release(c, err) // not worth a warning, as the peer had proven itself
			n.cfg.Log.Debug("a peer left while its link was made", slog.Any("err", err))
			return
		}
		n.logRefused(g.raw, err)
		return
	}
	l.up(c, t, peer)
}

// admit decides whether a proven peer that has dialled gets the link.
func (n *Net) admit(peer wire.Hello) (*Link, *claim, *wire.Refusal) {
	for {
		l, fresh := n.linkFor(peer.ID, Location{Addr: peer.Host, Port: peer.Port})
		if l == nil {
			return nil, nil, &wire.Refusal{Code: wire.RefuseClosed, Text: "the listener is closing"}
		}
		c, refusal, lost := l.claimAccepted(peer)
		if fresh {
			l.endDial(nil) // linkFor has counted a dial, and there is none
		}
		if !lost {
			return l, c, refusal
		}
		l.Fail(errors.New("the peer has lost it and dials anew"))
	}
}

// logRefused logs why a connection has not become a link, unless that happens in normal operation.
func (n *Net) logRefused(raw net.Conn, err error) {
	var refusal *wire.Refusal
	usual := errors.As(err, &refusal) && (refusal.Code == wire.RefuseDuplicate || refusal.Code == wire.RefuseClosed)
	if usual || n.ctx.Err() != nil {
		return
	}
	n.cfg.Warnings.Warn(n.cfg.Log, addressOf(raw.RemoteAddr()).String(), "refused a connection",
		slog.String("peer", raw.RemoteAddr().String()), slog.Any("err", err))
}
