package discoro

import (
	"net"
	"testing"
	"time"

	"github.com/discoro/discoro/internal/testkit"
)

// spawnEcho starts a coroutine of that name. It replies to each Request with its message, and
// ignores everything else.
func spawnEcho(rt *Runtime, name string) error {
	return rt.Spawn(name, func(c *Coro) (any, error) {
		for {
			msg, err := c.Receive()
			if err != nil {
				return nil, err
			}
			if r, ok := msg.(*Request); ok {
				if err := r.Reply(r.Msg); err != nil {
					return nil, err
				}
			}
		}
	}).Register(name)
}

// peerProcess is a runtime in a process of its own: a live.PeerLife.
type peerProcess struct {
	*testkit.Process
	Loc Location
}

// startPeer starts a process that ends with the test, or before.
func startPeer(t *testing.T, pulse time.Duration) *peerProcess {
	t.Helper()
	p := testkit.StartProcess(t, testkit.PeerEnv, pulse.String())
	at, err := ParseLocation(p.Line)
	if err != nil {
		t.Fatal(err)
	}
	return &peerProcess{Process: p, Loc: at}
}

// slowProxy starts a proxy that forwards that many bytes a second in each direction. It ends with
// the test.
func slowProxy(t *testing.T, target Location, perSecond int) Location {
	t.Helper()
	loc, err := ParseLocation(testkit.SlowProxy(t, target.String(), perSecond))
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

// slowProxyAt is slowProxy at a listener, which it owns.
func slowProxyAt(t *testing.T, ln net.Listener, target Location, perSecond int) {
	t.Helper()
	testkit.SlowProxyAt(t, ln, target.String(), perSecond)
}
