package discoro

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/internal/testkit"
)

// TestPeersAreKeptConnected cuts the link to one of Config.Peers.
func TestPeersAreKeptConnected(t *testing.T) {
	t.Parallel()
	b := testRuntime(t, Config{Name: "b"})
	p := newProxy(t, b.Location())
	a := testRuntime(t, Config{Name: "a", Peers: []string{p.location().String()}})
	var old *link.Link
	for round := range 4 {
		testkit.Eventually(t, fmt.Sprintf("link %d is up", round),
			func() bool { l := a.net.If(b.id); return l != nil && l != old && l.IsUp() })
		old = upLink(t, a, b)
		p.Cut()
		_ = waitEnded(t, old)
	}
}

// TestUnreachableErrors has each verb that dials dial where nobody is, and an empty location. The prefix
// of the error stands there once. An empty location, such as that of a Status without a server, leads to
// no peer.
func TestUnreachableErrors(t *testing.T) {
	t.Parallel()
	rt := testRuntime(t, Config{})
	ctx := testkit.Context(t)
	peer := testRuntime(t, Config{})
	if _, err := peer.Connect(ctx, rt.Location().String()); err != nil {
		t.Fatal(err)
	}
	_ = upLink(t, rt, peer) // which this side has not dialled
	comp, err := NewComputation(rt)
	if err != nil {
		t.Fatal(err)
	}
	path, _ := someFile(t, "file", 1)
	for _, at := range []Location{{"127.0.0.1", 1}, {}, {"127.0.0.1", 0}} {
		_, connect := rt.Connect(ctx, at.String())
		_, locate := rt.Locate(ctx, "name", at)
		_, channel := rt.LocateChannel(ctx, "name", at)
		_, server := NewServer(ServerConfig{Node: at.String(), Config: Config{Logger: discard}})
		_, nowhere := NewServer(ServerConfig{Node: "nowhere"})
		for verb, err := range map[string]error{
			"Connect": connect, "Locate": locate, "LocateChannel": channel, "Schedule": comp.Schedule(ctx, at),
			"SendFile": rt.SendFile(ctx, at, path), "DeleteFile": rt.DeleteFile(ctx, at, "file"), "NewServer": server,
			"NewServer at no location": nowhere,
		} {
			if err == nil || !strings.HasPrefix(err.Error(), "discoro: ") || strings.Count(err.Error(), "discoro: ") != 1 {
				t.Errorf("%s at %v: %v", verb, at, err)
			}
		}
		for _, err := range []error{comp.Schedule(ctx, at), rt.SendFile(ctx, at, path)} {
			if !errors.Is(err, ErrDisconnected) {
				t.Errorf("at %v: %v", at, err)
			}
		}
	}
}

// TestPeerThatComesLater checks that a peer is dialled until it is there, and that the log has that once.
func TestPeerThatComesLater(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	loc, err := ParseLocation(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	log := &testkit.Log{}
	a := testRuntime(t, Config{Name: "a", Logger: log.Logger(), Peers: []string{loc.String()}})
	testkit.Eventually(t, "it was tried three times", func() bool { return log.Count("cannot reach a peer") >= 3 })
	if n := log.Count("level=WARN"); n != 1 {
		t.Errorf("%d warnings:\n%s", n, log)
	}
	b := testRuntime(t, Config{Name: "b", TCPPort: loc.Port})
	testkit.Eventually(t, "the link is up", func() bool { l := a.net.If(b.id); return l != nil && l.IsUp() })
}
