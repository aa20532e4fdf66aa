package discoro

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/internal/testkit"
	"github.com/discoro/discoro/wire"
)

// hostile is a peer that has authenticated itself and then sends what it likes.
type hostile struct {
	t       *testing.T
	id      wire.ID
	conn    net.Conn       // below yamux
	session *yamux.Session // nil: the test writes yamux by hand
	frames  net.Conn
	parts   uint64 // frames that it has sent in parts
}

// newHostile greets rt as a peer. With bare set, the test writes yamux by hand.
func newHostile(t *testing.T, rt *Runtime, bare bool) *hostile {
	t.Helper()
	raw, err := net.Dial("tcp", rt.loc.String())
	if err != nil {
		t.Fatal(err)
	}
	h, err := greetHostile(t, raw, rt.cfg.protect, bare)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func greetHostile(t *testing.T, raw net.Conn, p *wire.Protection, bare bool) (*hostile, error) {
	t.Helper()
	h := &hostile{t: t, id: wire.NewID()}
	hello := wire.Hello{ID: h.id, Name: "hostile", Host: "127.0.0.1", Port: 9, Epoch: 1, Roles: 7, Pulse: time.Hour}
	var err error
	if h.conn, _, err = wire.Dial(t.Context(), raw, p, hello, nil); err != nil {
		return nil, err
	}
	t.Cleanup(func() { h.conn.Close() })
	if bare {
		return h, nil
	}
	if h.session, err = yamux.Client(h.conn, quietYamux()); err != nil {
		return nil, err
	}
	t.Cleanup(func() { h.session.Close() })
	h.frames, err = h.session.OpenStream()
	return h, err
}

// quietYamux is the configuration of a hostile peer's yamux: no pings, no log.
func quietYamux() *yamux.Config {
	cfg := yamux.DefaultConfig()
	cfg.EnableKeepAlive = false
	cfg.ConnectionWriteTimeout = time.Hour
	cfg.StreamOpenTimeout = 0
	cfg.StreamCloseTimeout = 0
	cfg.LogOutput = io.Discard
	return cfg
}

// link returns rt's link to it, once that is up.
func (h *hostile) link(rt *Runtime) *link.Link {
	h.t.Helper()
	var l *link.Link
	testkit.Eventually(h.t, "the hostile peer has a link", func() bool {
		l = rt.net.If(h.id)
		return l != nil && l.IsUp()
	})
	return l
}

func (h *hostile) send(frames ...wire.Frame) {
	h.t.Helper()
	var buf []byte
	for _, f := range frames {
		var err error
		if buf, err = wire.AppendFrame(buf, f); err != nil {
			h.t.Fatal(err)
		}
	}
	_, _ = h.frames.Write(buf) // the link may have ended
}

// sendRaw sends a frame of that kind with that payload.
func (h *hostile) sendRaw(kind wire.Kind, payload []byte) {
	head := append(binary.BigEndian.AppendUint32(nil, uint32(len(payload)+1)), byte(kind))
	_, _ = h.frames.Write(append(head, payload...))
}
