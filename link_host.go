package discoro

import (
	"context"
	"net"
	"time"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/internal/transport"
	"github.com/discoro/discoro/wire"
)

// linkHost is a Runtime as its links see it.
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

// linkConfig is what links know of the runtime, which accepts them at ln.
func (rt *Runtime) linkConfig(ln net.Listener) link.Config {
	s := &rt.cfg
	return link.Config{
		ID: rt.id, Location: link.Location(rt.loc), Hello: rt.hello, Protect: s.protect, Listener: ln, Dial: rt.dialTCP, Lookup: s.lookup,
		MaxMessage: s.MaxMessage, MsgTimeout: s.MsgTimeout, Pulse: s.pulse, Log: rt.log, Warnings: &rt.warnings,
	}
}

// hello is what the runtime says of itself in a greeting.
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

// linkTo returns the link to another runtime: see linkNet.linkTo.
func (rt *Runtime) linkTo(id wire.ID, loc Location) *link.Link {
	return rt.net.To(id, link.Location(loc))
}

// linkAt returns the link to whatever runtime is at loc: see linkNet.linkAt.
func (rt *Runtime) linkAt(ctx context.Context, loc Location) (*link.Link, error) {
	return rt.net.At(ctx, link.Location(loc))
}

// sendAway sends msg to c, which runs elsewhere, or has ended. It waits for room in the link's queue.
func (rt *Runtime) sendAway(c *Coro, msg any) error {
	encode := func(dst []byte) ([]byte, error) { return rt.appendMessage(dst, msg) }
	l := rt.linkOf(c)
	var err error
	if !l.IsSelf() {
		err = l.Send(c.key, encode)
	} else if _, err = encode(nil); err == nil { // what cannot be sent is the first thing to know
		err = errEnded(c)
	}
	if err != nil {
		return fault.Because(err, "not sent to %v", c)
	}
	return nil
}

// pause waits for d, or until the runtime ends.
func (rt *Runtime) pause(d time.Duration) error { return waitFor(rt.ctx, d) }

// waitFor waits for d, or until ctx ends.
func waitFor(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
