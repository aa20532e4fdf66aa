package discoro

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/internal/testkit"
	"github.com/discoro/discoro/wire"
)

// status returns the next change that a watcher of collect has received.
func status(t *testing.T, ch <-chan any) PeerStatus {
	t.Helper()
	s, ok := testkit.Next(t, ch).(PeerStatus)
	if !ok {
		t.Fatal("that is no PeerStatus")
	}
	return s
}

// watches returns how many watches a runtime has.
func watches(rt *Runtime) int {
	rt.watches.mu.Lock()
	defer rt.watches.mu.Unlock()
	return len(rt.watches.of)
}

// online returns how many peers the watchers of a runtime know.
func online(rt *Runtime) int {
	rt.watches.mu.Lock()
	defer rt.watches.mu.Unlock()
	return len(rt.watches.online)
}

// TestWatchPeers watches a peer that is there, its end and its return, from this runtime and from another.
func TestWatchPeers(t *testing.T) {
	t.Parallel()
	for _, elsewhere := range []bool{false, true} {
		t.Run(fmt.Sprintf("elsewhere=%v", elsewhere), func(t *testing.T) {
			t.Parallel()
			b := testRuntime(t, Config{Name: "b"})
			a := testRuntime(t, Config{Name: "a"})
			home := a
			if elsewhere {
				home = testRuntime(t, Config{Name: "watcher's"})
				connect(t, a, home.Location())
			}
			got := collect(t, home, "watcher")
			connect(t, a, b.Location())
			testkit.Eventually(t, "a knows of its links", func() bool { return online(a) == len(a.Peers()) && online(a) > 0 })
			w := locate(t, a, home, "watcher")
			a.WatchPeers(w)
			a.WatchPeers(w) // once is enough
			if watches(a) != 1 {
				t.Errorf("%d watches", watches(a))
			}
			there := []string{status(t, got).Name}
			if elsewhere {
				there = append(there, status(t, got).Name)
				slices.Sort(there)
			}
			if want := []string{"b", "watcher's"}[:len(there)]; !slices.Equal(there, want) {
				t.Errorf("there are %v, want %v", there, want)
			}
			for range 3 {
				if err := a.Disconnect(b.Location()); err != nil {
					t.Fatal(err)
				}
				if s := status(t, got); s.Online || s.Name != "b" || s.Location != b.Location() || !errors.Is(s.Err,
					ErrDisconnected) {
					t.Errorf("after its end: %+v", s)
				}
				connect(t, a, b.Location())
				if s := status(t, got); s != (PeerStatus{Location: b.Location(), Name: "b", Online: true}) {
					t.Errorf("after its return: %+v", s)
				}
			}
			if err := w.Terminate(); err != nil {
				t.Fatal(err)
			}
			testkit.Eventually(t, "the watch has ended", func() bool { return watches(a) == 0 })
			if err := a.Disconnect(b.Location()); err != nil {
				t.Fatal(err)
			}
			testkit.Eventually(t, "b is offline", func() bool { return len(a.Peers()) == len(there)-1 })
			select {
			case msg := <-got:
				t.Errorf("after the watch: %v", msg)
			default:
			}
		})
	}
}

// TestWatchPeersInOrder has links come and go as fast as they can. Every watcher receives all changes in
// order.
func TestWatchPeersInOrder(t *testing.T) {
	t.Parallel()
	const rounds = 20
	ctx := testkit.Context(t)
	b, a := testRuntime(t, Config{Name: "b"}), testRuntime(t, Config{Name: "a"})
	var watchers []<-chan any
	for i := range 3 {
		name := fmt.Sprint("watcher ", i)
		watchers = append(watchers, collect(t, a, name))
		w, err := a.Locate(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		a.WatchPeers(w)
	}
	for range rounds {
		connect(t, a, b.Location())
		upLink(t, a, b).Fail(errors.New("pulled")) // and the next dial begins at once
	}
	for i, got := range watchers {
		for n := range 2 * rounds {
			if s := status(t, got); s.Online != (n%2 == 0) || s.Online != (s.Err == nil) {
				t.Fatalf("watcher %d: change %d is %+v", i, n, s)
			}
		}
	}
	testkit.Eventually(t, "nobody is online", func() bool { return online(a) == 0 })
}

// TestWatchEndsWithTheLink cuts the link to a watcher of another runtime.
func TestWatchEndsWithTheLink(t *testing.T) {
	t.Parallel()
	a, b := twoRuntimes(t, Config{})
	got := collect(t, b, "watcher")
	a.WatchPeers(locate(t, a, b, "watcher"))
	if s := status(t, got); s.Name != "b" || !s.Online {
		t.Errorf("%+v", s)
	}
	upLink(t, a, b).Fail(errors.New("pulled"))
	testkit.Eventually(t, "the watch has ended", func() bool { return watches(a) == 0 })
	a.WatchPeers(nil)
	a.WatchPeers(Nobody(a, b))
	testkit.Eventually(t, "nobody is watched for", func() bool { return watches(a) == 0 })
	c := a.Spawn("ended", func(*Coro) (any, error) { return nil, nil })
	if err := c.Wait(testkit.Context(t)); err != nil {
		t.Fatal(err)
	}
	a.WatchPeers(c)
	if watches(a) != 0 {
		t.Error("a coroutine that has ended watches")
	}
}

// TestWatchIsBounded has too many changes wait for a watcher in another runtime.
func TestWatchIsBounded(t *testing.T) {
	t.Parallel()
	log := &testkit.Log{}
	b := testRuntime(t, Config{Name: "b"})
	a := testRuntime(t, Config{Name: "a", Logger: log.Logger()})
	connect(t, a, b.Location())
	c := b.Spawn("watcher", func(c *Coro) (any, error) { return nil, c.Sleep(testkit.Patience) })
	if err := c.Register("watcher"); err != nil {
		t.Fatal(err)
	}
	w := &peerWatch{rt: a, to: locate(t, a, b, "watcher"), link: upLink(t, a, b), busy: true} // by a sender that is stuck
	if !a.watches.add(w) {
		t.Fatal("no watch")
	}
	other := a.net.To(wire.ID{}, link.Location(b.loc))
	for range maxPeerNews {
		a.watches.notify(other, ErrDisconnected)
	}
	if len(w.items) <= maxPeerNews || !w.full {
		t.Errorf("%d wait, full is %v", len(w.items), w.full)
	}
	w.send()
	if watches(a) != 0 || !strings.Contains(log.String(), "a watch of peers has ended") {
		t.Errorf("%d watches, and the log says: %s", watches(a), log)
	}
}

func TestPeerStatusReads(t *testing.T) {
	t.Parallel()
	for want, s := range map[string]PeerStatus{
		"b@[::1]:1 is online":        {Location: Location{"::1", 1}, Name: "b", Online: true},
		"b@[::1]:1 is offline":       {Location: Location{"::1", 1}, Name: "b"},
		"b@[::1]:1 is offline: ouch": {Location: Location{"::1", 1}, Name: "b", Err: errors.New("ouch")},
	} {
		if got := s.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
