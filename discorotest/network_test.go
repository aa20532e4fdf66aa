package discorotest_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/discorotest"
)

// onBothNetworks runs a test in memory, in fake time, and on loopback.
func onBothNetworks(t *testing.T, test func(t *testing.T, n *discorotest.Network)) {
	t.Helper()
	t.Run("memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { test(t, discorotest.NewNetwork(t, true)) })
	})
	t.Run("loopback", func(t *testing.T) { test(t, discorotest.NewNetwork(t, false)) })
}

// received returns a coroutine of rt, under the name "inbox", and what it receives.
func received(t *testing.T, rt *discoro.Runtime) <-chan any {
	t.Helper()
	got := make(chan any, 10)
	inbox := rt.Spawn("inbox", func(c *discoro.Coro) (any, error) {
		for {
			msg, err := c.Receive()
			if err != nil {
				return nil, err
			}
			got <- msg
		}
	})
	if err := inbox.Register("inbox"); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestNetworkCutAndHeal(t *testing.T) {
	onBothNetworks(t, func(t *testing.T, n *discorotest.Network) {
		t.Helper()
		b := n.Runtime(t, "b", discoro.Config{})
		got := received(t, b)
		a := n.Runtime(t, "a", discoro.Config{Peers: []string{b.Location().String()}})
		inbox, err := a.Locate(t.Context(), "inbox", b.Location())
		if err != nil {
			t.Fatal(err)
		}
		n.Cut("b")
		if err := inbox.Send("late"); err != nil {
			t.Fatal(err)
		}
		select {
		case msg := <-got:
			t.Errorf("%v came from a host that is cut off", msg)
		case <-time.After(100 * time.Millisecond):
		}
		n.Heal("b")
		if msg := <-got; msg != "late" {
			t.Errorf("%v came", msg)
		}
		n.Cut("b") // the test's end heals it
	})
}

func TestNetworkBreak(t *testing.T) {
	onBothNetworks(t, func(t *testing.T, n *discorotest.Network) {
		t.Helper()
		b := n.Runtime(t, "b", discoro.Config{})
		watched := make(chan error, 10)
		watcher := b.Spawn("watcher", func(c *discoro.Coro) (any, error) {
			for {
				s, err := discoro.ReceiveAs[discoro.PeerStatus](c)
				if err != nil {
					return nil, err
				}
				watched <- s.Err
			}
		})
		b.WatchPeers(watcher)
		n.Runtime(t, "a", discoro.Config{Peers: []string{b.Location().String()}})
		if err := <-watched; err != nil {
			t.Fatal(err)
		}
		n.Break("a")
		if err := <-watched; !errors.Is(err, discoro.ErrDisconnected) {
			t.Errorf("the link ended with %v", err)
		}
		if err := <-watched; err != nil {
			t.Errorf("it was not connected again: %v", err)
		}
	})
}

// TestNetworkRoles has a scheduler and a node of its own at hosts of a network.
func TestNetworkRoles(t *testing.T) {
	onBothNetworks(t, func(t *testing.T, n *discorotest.Network) {
		t.Helper()
		sched, err := discoro.NewScheduler(discoro.SchedulerConfig{Config: n.At("scheduler", discoro.Config{})})
		if err != nil {
			t.Fatal(err)
		}
		defer sched.Close()
		at := discoro.Config{Peers: []string{sched.Location().String()}}
		node, err := discoro.NewNode(discoro.NodeConfig{Config: n.At("node", at), Servers: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer node.Close()
		comp, err := discoro.NewComputation(sched.Runtime)
		if err != nil {
			t.Fatal(err)
		}
		if err := comp.Schedule(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, err := discoro.Result[int](t.Context(), run(t, comp, double.With(4))); got != 8 || err != nil {
			t.Errorf("%d, %v", got, err)
		}
		if err := comp.Close(t.Context()); err != nil {
			t.Error(err)
		}
		_, err = discoro.NewNode(discoro.NodeConfig{Config: n.At("node", at), Processes: true})
		if err == nil {
			t.Error("server processes in a network of a test")
		}
	})
}

// TestNetworkMistakes has a configuration that cannot be.
func TestNetworkMistakes(t *testing.T) {
	said := spied(t, func(s *spy) {
		discorotest.NewNetwork(s, true).Runtime(s, "a", discoro.Config{MaxMessage: -1})
	})
	if said == "" {
		t.Error("it said nothing")
	}
}
