package discoro

import (
	"context"
	"net"
	"time"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/transport"
	"github.com/discoro/discoro/wire"
)

// linkHost is a Runtime as its links see it.
type linkHost Runtime

func (h *linkHost) rt() *Runtime { return (*Runtime)(h) }

func (h *linkHost) start(f func()) bool { return h.rt().start(f) }

func (h *linkHost) wait(ctx context.Context, k *call.Call) (call.Outcome, error) {
	return h.rt().wait(ctx, k)
}

func (h *linkHost) frame(l *link, f wire.Frame) error { return h.rt().dispatch(l, f) }

func (h *linkHost) up(l *link) { h.rt().linkCameUp(l) }

func (h *linkHost) down(l *link, wasUp bool, err error) { h.rt().linkEnded(l, wasUp, err) }

func (h *linkHost) stream(l *link, s transport.PeerStream) error { return h.rt().answerFile(l, s) }

func (h *linkHost) encode(out call.Outcome) *wire.Outcome {
	o, err := encodeOutcome(h.rt(), out)
	if err != nil {
		return failed(err)
	}
	return o
}

// linkOf returns the link to the runtime that c runs in.
func (rt *Runtime) linkOf(c *Coro) *link {
	if rt != c.rt { // a handle of another runtime in this process
		return rt.linkTo(c.home, c.loc)
	}
	if l := c.link.Load(); l != nil {
		select {
		case <-l.ended:
		default:
			return l
		}
	}
	l := rt.linkTo(c.home, c.loc)
	c.link.Store(l)
	return l
}

// linkConfig is what links know of the runtime, which accepts them at ln.
func (rt *Runtime) linkConfig(ln net.Listener) netConfig {
	s := &rt.cfg
	return netConfig{
		id: rt.id, loc: rt.loc, hello: rt.hello, protect: s.protect, listener: ln, dial: rt.dialTCP, lookup: s.lookup,
		maxMessage: s.MaxMessage, msgTimeout: s.MsgTimeout, pulse: s.pulse, log: rt.log, warnings: &rt.warnings,
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
func (rt *Runtime) dialTCP(ctx context.Context, to Location) (net.Conn, error) {
	if h := rt.cfg.host; h != nil {
		return h.Dial(ctx, rt.loc.String(), to.String())
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", to.String())
}

// linkTo returns the link to another runtime: see linkNet.linkTo.
func (rt *Runtime) linkTo(id wire.ID, loc Location) *link { return rt.net.linkTo(id, loc) }

// linkAt returns the link to whatever runtime is at loc: see linkNet.linkAt.
func (rt *Runtime) linkAt(ctx context.Context, loc Location) (*link, error) {
	return rt.net.linkAt(ctx, loc)
}

// sendAway sends msg to c, which runs elsewhere, or has ended. It waits for room in the link's queue.
func (rt *Runtime) sendAway(c *Coro, msg any) error {
	encode := func(dst []byte) ([]byte, error) { return rt.appendMessage(dst, msg) }
	l := rt.linkOf(c)
	var err error
	if !l.isSelf() {
		err = l.send(c.key, encode)
	} else if _, err = encode(nil); err == nil { // what cannot be sent is the first thing to know
		err = errEnded(c)
	}
	if err != nil {
		return fault.Because(err, "not sent to %v", c)
	}
	return nil
}

// pause waits for d, or until the runtime ends.
func (rt *Runtime) pause(d time.Duration) error {
	if !waitFor(rt.ctx, d, nil) {
		return rt.ctx.Err()
	}
	return nil
}
