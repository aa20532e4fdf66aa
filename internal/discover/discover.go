package discover

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/discoro/discoro/internal/lan"
	"github.com/discoro/discoro/internal/ratelog"
	"github.com/discoro/discoro/wire"
)

// Config is what discovery has to know of the runtime. All of it is immutable.
type Config struct {
	ID       wire.ID
	Listen   netip.Addr // that the runtime's listener is bound to
	TCPPort  int        // of the listener
	UDPPort  int        // where questions go
	Protect  *wire.Protection
	Deaf     bool                   // answers no questions
	Has      func(name string) bool // reports whether the runtime has something of that name
	Start    func(f func()) bool    // starts a goroutine; false: the runtime is closed
	Timeout  time.Duration          // of a visit
	Log      *slog.Logger
	Warnings *ratelog.Log
	Memory   Memory // takes the place of the local network; nil: there are sockets
	Group    any    // comparable; in memory, runtimes find those of the same group
	Found    Found  // in memory, how others find this runtime
}

// Memory is a local network of a test.
type Memory interface {
	// Announce makes the runtime who, which is at that address, visible to Near.
	Announce(at string, who any)
	// Near returns everybody who was announced and can be reached.
	Near() []any
}

// Found is a runtime that has answered, and where to dial it.
type Found struct {
	ID   wire.ID
	Host string // address
	Port int
}

// Discovery is a runtime's part in discovery. Its methods are safe for concurrent use.
type Discovery struct {
	cfg   Config          // immutable
	ctx   context.Context //nolint:containedctx // immutable: done when the runtime ends its goroutines
	conns []*net.UDPConn  // immutable: sockets for the questions of others
	asked questions       // of others, that were answered
}

// Open opens the sockets for questions, unless the runtime is deaf. If that fails, Open returns the
// error and a Discovery that can only ask.
func Open(ctx context.Context, cfg Config) (*Discovery, error) {
	d := &Discovery{cfg: cfg, ctx: ctx}
	switch {
	case cfg.Deaf:
		return d, nil
	case cfg.Memory != nil:
		cfg.Memory.Announce(net.JoinHostPort(cfg.Found.Host, fmt.Sprint(cfg.Found.Port)), d)
		return d, nil
	}
	var err error
	d.conns, err = lan.Hear(cfg.Listen, cfg.UDPPort)
	return d, err
}

// Begin starts to answer questions.
func (d *Discovery) Begin() {
	for _, conn := range d.conns {
		d.cfg.Start(func() { d.answerAll(conn) })
	}
}

// Close closes the sockets for questions.
func (d *Discovery) Close() error {
	var errs []error
	for _, conn := range d.conns {
		errs = append(errs, conn.Close())
	}
	return errors.Join(errs...)
}

// local reports whether only this machine can reach the runtime. Then it hears and asks this machine
// only.
func (d *Discovery) local() bool { return d.cfg.Listen.IsLoopback() }

// answerAll owns a socket, and answers the questions that come to it. It ends when the socket is closed.
func (d *Discovery) answerAll(conn *net.UDPConn) {
	if d.cfg.Protect.Ready(d.ctx) != nil {
		return
	}
	d.readAll(conn, func(g *wire.Datagram, from netip.AddrPort) {
		if !d.mayAnswer(g, from.Addr(), time.Now()) {
			return
		}
		if err := d.answer(conn, g, from); err != nil {
			d.cfg.Log.Debug("cannot answer a question of the local network",
				slog.String("peer", from.String()), slog.Any("err", err))
		}
	})
}

// readAll reads the datagrams that come to a socket until that is closed. handle gets those that are
// meant for this runtime and come from another.
func (d *Discovery) readAll(conn *net.UDPConn, handle func(g *wire.Datagram, from netip.AddrPort)) {
	buf := make([]byte, wire.MaxDatagram+1)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			if errors.Is(err, net.ErrClosed) || d.pause(10*time.Millisecond) != nil {
				return
			}
			continue // the datagram was too large, or one that was sent before has come back
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if d.local() && !from.Addr().IsLoopback() {
			continue
		}
		g, err := d.cfg.Protect.DecodeDatagram(buf[:n])
		if err != nil {
			d.logIgnored(from, err)
			continue
		}
		if g.From != d.cfg.ID {
			handle(g, from)
		}
	}
}

// pause waits for p, or until the goroutines are to end.
func (d *Discovery) pause(p time.Duration) error {
	timer := time.NewTimer(p)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-d.ctx.Done():
		return d.ctx.Err()
	}
}

// logIgnored logs that a datagram was ignored, from time to time.
func (d *Discovery) logIgnored(from netip.AddrPort, err error) {
	if more, due := d.cfg.Warnings.Due("datagrams", time.Now()); due {
		d.cfg.Log.Debug("ignored a datagram",
			slog.String("peer", from.String()), slog.Any("err", err), slog.Int("more", more))
	}
}

// mayAnswer reports whether a datagram is a question that this runtime answers.
func (d *Discovery) mayAnswer(g *wire.Datagram, from netip.Addr, now time.Time) bool {
	if g.Kind != wire.DatagramQuestion || g.Name != "" && !d.cfg.Has(g.Name) {
		return false
	}
	if age := now.Sub(g.Time); age > datagramAge || age < -datagramAge {
		err := fmt.Errorf("a question of %v: the clocks differ, or somebody repeats it", g.Time)
		d.logIgnored(netip.AddrPortFrom(from, 0), err)
		return false
	}
	return d.asked.add(g.Question, from, now) && lan.IsNear(from)
}

// answer answers a question. If the runtime listens on one address only, the answer comes from there,
// because that is where the asker will dial.
func (d *Discovery) answer(conn *net.UDPConn, g *wire.Datagram, to netip.AddrPort) error {
	b, err := d.encode(wire.DatagramAnswer, g.Question, "")
	if err != nil {
		return err
	}
	if !d.local() && !d.cfg.Listen.IsUnspecified() {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(d.cfg.Listen, 0)))
		if err != nil {
			return err
		}
		defer conn.Close()
	}
	_, err = conn.WriteToUDPAddrPort(b, to)
	return err
}

// encode makes a datagram of this runtime. It names the port of the listener, whatever the runtime
// announces elsewhere: answers stay in the local network.
func (d *Discovery) encode(kind wire.DatagramKind, question wire.ID, name string) ([]byte, error) {
	g := &wire.Datagram{
		Kind: kind, Question: question, Time: time.Now(), From: d.cfg.ID, Port: d.cfg.TCPPort, Name: name,
	}
	if d.local() {
		g.Addr = d.cfg.Listen
	}
	return d.cfg.Protect.EncodeDatagram(g)
}
