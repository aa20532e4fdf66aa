package discoro

import (
	"context"
	"strings"
	"testing"

	"github.com/discoro/discoro/internal/testkit"
)

// TestChannelDeliverSaysWhatIsMissing ends the wait for subscribers, and for their mailboxes. The
// error counts those that are missing.
func TestChannelDeliverSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	a, b := twoRuntimes(t, Config{})
	full := testRuntime(t, Config{Name: "full", MaxMailbox: 1})
	own := newChannel(t, a)
	collect(t, a, "here")
	wantError(t, "Subscribe", own.Subscribe(testkit.Context(t), a.named("here")), nil)
	deliver := func(at *Channel, n, reached int, want string) {
		t.Helper()
		ctx, cancel := context.WithCancel(testkit.Context(t))
		var got int
		done := make(chan error, 1)
		go func() {
			var err error
			got, err = at.Deliver(ctx, "x", n)
			done <- err
		}()
		testkit.Eventually(t, "it waits", func() bool {
			own.hub.mu.Lock()
			defer own.hub.mu.Unlock()
			return len(own.hub.waits) > 0
		})
		cancel()
		err := <-done
		wantError(t, "Deliver", err, context.Canceled)
		if err == nil || !strings.Contains(err.Error(), want) || got != reached {
			t.Errorf("%d have it, %v; want %d and %q", got, err, reached, want)
		}
		testkit.Eventually(t, "it waits no more", func() bool { own.hub.mu.Lock(); defer own.hub.mu.Unlock(); return len(own.hub.waits) == 0 })
	}
	deliver(own, 3, 0, ": there are 1 of 3 subscribers: context canceled")
	deliver(channelAt(b, own), 3, 0, ": how many of 3 subscribers there are, and have it, is known to the owner only: context canceled")

	stays := full.Spawn("stays", func(c *Coro) (any, error) { <-c.Done(); return nil, nil })
	if err := stays.Send("fills it"); err != nil {
		t.Fatal(err)
	}
	wantError(t, "Subscribe", own.Subscribe(testkit.Context(t), coroThrough(a, stays, full.Location())), nil)
	ctx, cancel := context.WithCancel(testkit.Context(t))
	done := make(chan error, 1)
	go func() {
		_, err := own.Deliver(ctx, "y", 2)
		done <- err
	}()
	testkit.Eventually(t, "it waits for room", func() bool {
		stays.local.mu.Lock()
		defer stays.local.mu.Unlock()
		return stays.local.room != nil && len(stays.local.room.waits) > 0
	})
	cancel()
	err := <-done
	wantError(t, "Deliver", err, context.Canceled)
	if err == nil || !strings.Contains(err.Error(), ": 1 of 2 subscribers have it: context canceled") {
		t.Errorf("the mailbox of one is full: %v", err)
	}
	_ = stays.Terminate()
}
