package test

import (
	"errors"
	"strings"
	"testing"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/internal/testkit"
	"github.com/discoro/discoro/internal/testkit/live"
)

// TestOversizedIsExplained sends more than the other side's Config.MaxMessage allows. The link
// ends, and the sender's error says why.
func TestOversizedIsExplained(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{"", "a secret that both sides know"} {
		name := "plain"
		if secret != "" {
			name = "secret"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := testkit.Context(t)
			b := live.RuntimeWith(t, discoro.Config{Name: "b", Addr: "127.0.0.1", Secret: secret, MaxMessage: 2 << 20})
			a := live.RuntimeWith(t, discoro.Config{Name: "a", Addr: "127.0.0.1", Secret: secret, MaxMessage: 64 << 20})
			sink := b.Spawn("sink", func(c *discoro.Coro) (any, error) {
				for {
					if _, err := c.Receive(); err != nil {
						return nil, err
					}
				}
			})
			if err := sink.Register("sink"); err != nil {
				t.Fatal(err)
			}
			at, err := a.Locate(ctx, "sink", b.Location())
			if err != nil {
				t.Fatal(err)
			}
			if err := at.Deliver(ctx, make([]byte, 1<<20)); err != nil {
				t.Fatal(err)
			}
			err = at.Deliver(ctx, make([]byte, 48<<20))
			if !errors.Is(err, discoro.ErrDisconnected) || !strings.Contains(err.Error(), "its Config.MaxMessage is 2097152") {
				t.Errorf("%v: want ErrDisconnected that names the peer's MaxMessage", err)
			}
			if err := at.Deliver(ctx, make([]byte, 1<<20)); err != nil {
				t.Errorf("the next one, over the next link: %v", err)
			}
			if err := sink.Terminate(); err != nil {
				t.Error(err)
			}
		})
	}
}
