package link

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/discoro/discoro/internal/testkit"
	"github.com/discoro/discoro/wire"
)

// TestEveryAddressOfAPeer keeps links to every address of a name, except to the host itself.
func TestEveryAddressOfAPeer(t *testing.T) {
	t.Parallel()
	b := newHost(t, Config{})
	var a *testHost
	a = newHost(t, Config{
		Lookup: func(context.Context, string) ([]string, error) { return []string{"this", "other"}, nil },
		Dial: func(ctx context.Context, to Location) (net.Conn, error) {
			at := map[string]*testHost{"this": a, "other": b}[to.Addr]
			return new(net.Dialer).DialContext(ctx, "tcp", at.net.cfg.Location.String())
		},
	})
	a.Start(func() { a.net.Keep(Location{"both", 1}, nil) })
	var ok *Link
	testkit.Eventually(t, "b is connected", func() bool {
		ok = a.net.If(b.net.cfg.ID)
		return ok != nil && ok.IsUp()
	})
	bad := a.net.deadLink(wire.NewID(), Location{}, errors.New("ended"))
	if !a.net.untilOneEnds([]*Link{ok, bad}, time.Hour, false) {
		t.Error("of two links one has ended, and nobody noticed")
	}
	if a.net.untilOneEnds([]*Link{ok}, time.Millisecond, true) {
		t.Error("none has ended")
	}
	ended := make(chan bool, 1)
	go func() { ended <- a.net.untilOneEnds([]*Link{ok}, time.Hour, false) }()
	ok.Fail(errors.New("cut"))
	if !testkit.Next(t, ended) {
		t.Error("the end was not noticed")
	}
}

func TestPauseEndsWithTheHost(t *testing.T) {
	t.Parallel()
	h := newHost(t, Config{})
	done := make(chan error, 1)
	go func() { done <- h.net.pause(time.Hour) }()
	h.close(t)
	if err := testkit.Next(t, done); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want canceled", err)
	}
}
