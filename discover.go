package discoro

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/discover"
	"github.com/discoro/discoro/internal/fault"
)

// DefaultUDPPort is the port at which runtimes listen for questions on the local network, unless
// Config.UDPPort names another.
const DefaultUDPPort = 51350

// Bounds of what a scheduler does with the nodes that another node knows.
const (
	maxFound     = 1024 // nodes that it takes
	maxFoundDial = 16   // dials at the same time
)

// When the questions of a search are sent, and how long answers are waited for after each.
var (
	discoverPauses = []time.Duration{200 * time.Millisecond, 300 * time.Millisecond, 500 * time.Millisecond}
	locatePauses   = []time.Duration{150 * time.Millisecond, 250 * time.Millisecond}
)

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
		return nil, badField("UDPPort", "%d cannot be listened on: %w; choose another, the same everywhere, or -1 for no discovery",
			s.UDPPort, err)
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

// Discover looks for runtimes on the local network and connects to those that answer, as Connect does; it asks this machine
// only when the runtime listens on loopback. Only runtimes with the same Config.UDPPort and the same kind of protection
// answer, and with a secret only those that have it.
//
// Discover blocks for a second, in which it asks three times, and then until those that were found are connected or cannot
// be, at most Config.MsgTimeout more, or until ctx ends. That nobody answers, or that one who did cannot be
// connected to, is no error; see [Runtime.Peers]. ErrRejected: discovery is off; ErrClosed: the runtime is closed. Any
// other error: there is no network to ask on.
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

// locateNear asks on the local network for what has that name, and then at the runtimes that say they have it.
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
