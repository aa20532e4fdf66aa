package transport

import (
	"context"
	"io"
	"sync"
	"testing"

	"github.com/hashicorp/yamux"

	"github.com/discoro/discoro/internal/testkit"
)

// TestStreamsBothWays opens many streams from both sides at once. Some senders stop half way, some
// receivers drop what they have posted. Nothing is left of any stream, and each side may open as
// many as ever.
func TestStreamsBothWays(t *testing.T) {
	t.Parallel()
	a, b := transports(t)
	var all, accepting sync.WaitGroup
	for _, c := range []*Conn{a, b} {
		accepting.Go(func() {
			for i := 0; ; i++ {
				s, err := c.Accept()
				if err != nil {
					return
				}
				all.Go(func() { drain(c, s, i) })
			}
		})
		slots := make(chan struct{}, MaxStreams)
		for i := range 3 * MaxStreams {
			all.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				s, err := c.Open()
				if err != nil {
					t.Error(err)
					return
				}
				if i%3 == 0 { // the peer may take nothing more, now and then
					_ = s.SetWriteDeadline(longAgo)
				}
				_, _ = s.Write(make([]byte, 1+i*10_000))
				_ = s.Close()
				if _, err := io.Copy(io.Discard, s); err != nil {
					t.Error(err)
				}
			})
		}
	}
	all.Wait()
	for _, c := range []*Conn{a, b} {
		testkit.Eventually(t, "nothing is left of the streams", func() bool {
			p, o := &c.watched.streams, &c.watched.own
			p.mu.Lock()
			defer p.mu.Unlock()
			o.mu.Lock()
			defer o.mu.Unlock()
			return len(p.open) == 0 && len(p.fresh) == 0 && len(o.open) == 0 && c.session.(*yamux.Session).NumStreams() == 1
		})
		if n := c.watched.scan.mayOpen.Load(); n != MaxStreams {
			t.Errorf("the peer may open %d streams, want %d", n, MaxStreams)
		}
	}
	a.Close()
	b.Close()
	accepting.Wait()
}

// drain takes what comes on a stream of the peer, in one way or another, until its end.
func drain(c *Conn, s PeerStream, i int) {
	switch i % 3 {
	case 0:
		s.Post(make([]byte, 20_000))
		_, _ = s.Came(context.Background())
		s.Drop()
	case 1: // posted memory that is never filled
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		s.Post(make([]byte, 1<<20))
		_, _ = s.Came(ctx)
		s.Drop()
	}
	_, _ = io.Copy(io.Discard, s)
	c.Release()
	_ = s.Close()
}
