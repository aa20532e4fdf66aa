package discoro

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/discoro/discoro/internal/testkit"
	"github.com/discoro/discoro/wire"
)

// TestChannelSlowSubscriber freezes the link to one of two subscribers. The other one gets
// everything, and the slow one a beginning of it without a gap.
func TestChannelSlowSubscriber(t *testing.T) {
	t.Parallel()
	logA, logB := &testkit.Log{}, &testkit.Log{}
	a := testRuntime(t, Config{Name: "a", MsgTimeout: 300 * time.Millisecond, Logger: logA.Logger()})
	b := testRuntime(t, Config{Name: "b", Logger: logB.Logger()})
	p := newProxy(t, a.Location())
	connect(t, b, p.location())
	own := newChannel(t, a)
	_, slow := subscribed(t, b, own, "slow")
	_, quick := subscribed(t, a, own, "quick")
	p.Freeze()
	body := strings.Repeat("x", 256<<10)
	sent := 0
	var err error
	for ; sent < 1000 && err == nil; sent++ {
		err = own.Send([]any{sent, body})
	}
	wantError(t, "Send to one that is slow", err, ErrTimeout)
	if own.hub.count() != 1 || logA.Count("a channel's subscriber was dropped") != 1 {
		t.Errorf("%d are subscribed", own.hub.count())
	}
	if logA.Count("coro=unknown@"+b.Location().String()) != 1 { // only b knows its name
		t.Errorf("who was dropped is not told:\n%s", logA)
	}
	wantError(t, "Send without it", own.Send([]any{sent, body}), nil)
	take := func(got <-chan any, n int) {
		t.Helper()
		var seen []int
		for range n {
			seen = append(seen, testkit.Next(t, got).([]any)[0].(int))
		}
		wantError(t, "what came", testkit.CheckLedger(seen, n), nil)
	}
	take(quick, sent+1)
	p.Thaw()
	take(slow, sent-1) // the last of them was the one that cost the subscription
	testkit.Eventually(t, "its runtime hears of it", func() bool { return logB.Count("a coroutine was unsubscribed") == 1 })
	if logB.Count("coro="+b.named("slow").String()) != 1 {
		t.Errorf("who was unsubscribed is not told:\n%s", logB)
	}
	wantError(t, "Subscribe anew", channelAt(b, own).Subscribe(testkit.Context(t), b.named("slow")), nil)
	wantError(t, "Send again", own.Send([]any{0, "again"}), nil)
	take(slow, 1)
}

// TestChannelSlowSubscriberAndDistantSender has a sender in another runtime send faster than a
// subscriber receives. The sender waits, and nothing piles up at the owner.
func TestChannelSlowSubscriberAndDistantSender(t *testing.T) {
	t.Parallel()
	a, b := testRuntime(t, Config{Name: "a"}), testRuntime(t, Config{Name: "b"})
	c := testRuntime(t, Config{Name: "c", MsgTimeout: 200 * time.Millisecond})
	p := newProxy(t, a.Location())
	connect(t, b, p.location())
	connect(t, a, c.Location()) // c's time is too short to dial on a machine that is busy
	own := newChannel(t, a)
	_, got := subscribed(t, b, own, "slow")
	p.Freeze()
	upLink(t, c, a)
	ch := channelAt(c, own)
	body := strings.Repeat("x", 100<<10)
	sent := 0
	var err error
	for ; sent < 1000; sent++ {
		if err = ch.Send([]any{sent, body}); err != nil {
			break
		}
	}
	wantError(t, "Send", err, ErrTimeout)
	own.hub.mu.Lock()
	held := 0
	for _, peer := range own.hub.peers {
		held += peer.sends
	}
	own.hub.mu.Unlock()
	if held > flowWindow+flowStep {
		t.Errorf("%d bytes wait at the owner", held)
	}
	p.Thaw()
	var seen []int
	for range sent {
		seen = append(seen, testkit.Next(t, got).([]any)[0].(int))
	}
	wantError(t, "what came", testkit.CheckLedger(seen, sent), nil)
	testkit.Eventually(t, "Send works again", func() bool { return ch.Send([]any{sent, ""}) == nil })
	if msg := testkit.Next(t, got).([]any); msg[0] != sent {
		t.Errorf("%v came", msg[0])
	}
	testkit.Eventually(t, "nothing is held", func() bool {
		own.hub.mu.Lock()
		defer own.hub.mu.Unlock()
		return len(own.hub.peers) == 1 && len(own.hub.order) == 1
	})
}

// TestChannelEncoding sends what cannot travel. Nobody gets it, unless all subscribers are in the
// sender's runtime.
func TestChannelEncoding(t *testing.T) {
	t.Parallel()
	a, b := twoRuntimes(t, Config{})
	own := newChannel(t, a)
	type secret struct{ X int }
	_, here := subscribed(t, a, own, "here")
	value := &secret{1}
	wantError(t, "Send here", own.Send(value), nil)
	if msg := testkit.Next(t, here); msg != any(value) {
		t.Errorf("%v came, not the very value", msg)
	}
	_, there := subscribed(t, b, own, "there")
	wantError(t, "Send", own.Send(value), ErrTypeNotRegistered)
	wantError(t, "Send from there", channelAt(b, own).Send(value), ErrTypeNotRegistered)
	n, err := own.Deliver(testkit.Context(t), value, 1)
	if wantError(t, "Deliver", err, ErrTypeNotRegistered); n != 0 {
		t.Errorf("%d were reached", n)
	}
	wantError(t, "Send", own.Send("good"), nil)
	for _, got := range []<-chan any{here, there} {
		if msg := testkit.Next(t, got); msg != "good" {
			t.Errorf("%v came", msg)
		}
	}
}

// TestChannelHostile floods a channel's owner, and a subscriber's runtime.
func TestChannelHostile(t *testing.T) {
	t.Parallel()
	rt := testRuntime(t, Config{MaxMessage: 1 << 20, Logger: (&testkit.Log{}).Logger()})
	own := newChannel(t, rt)
	victim, got := subscribed(t, rt, own, "victim")
	h := newHostile(t, rt, false)
	l := h.link(rt)

	go func() { _ = h.drain() }() // ends with the connection

	// The peer can end only its own subscriptions.
	h.send(&wire.Unsubscribe{Call: 1, Channel: own.key, Coro: publicKey(victim)}, &wire.Subscribe{Call: 2, Channel: own.key, Coro: publicKey(victim)})
	testkit.Eventually(t, "it is subscribed", func() bool { return own.hub.count() == 2 })
	wantError(t, "Send", own.Send("for the victim"), nil)
	if msg := testkit.Next(t, got); msg != "for the victim" {
		t.Errorf("%v came", msg)
	}

	// There are at most maxSubscribed subscriptions. Most are made without frames, which take long
	// under -race.
	const few = 100
	for i := range uint64(maxSubscribed - few) {
		if err := own.hub.subscribe(nil, l, 1<<33+i); err != nil {
			t.Fatal(err)
		}
	}
	for i := range uint64(2 * few) {
		h.send(&wire.Subscribe{Call: i + 3, Channel: own.key, Coro: 1<<32 + i})
	}
	testkit.Eventually(t, "the flood is over", func() bool { return own.hub.count() >= maxSubscribed+1 })
	if n := own.hub.count(); n != maxSubscribed+1 {
		t.Errorf("%d are subscribed", n)
	}

	h.send(&wire.PublishDeliver{Call: 1, Channel: own.key, N: -5, Body: []byte{0xf6}})
	testkit.Next(t, got)

	// Deliveries that wait are bounded by bytes.
	body := make([]byte, 40<<10)
	for i := range uint64(300) {
		h.send(&wire.PublishDeliver{Call: 1<<40 + i, Channel: own.key, N: math.MaxInt32, Body: body})
	}
	h.send(&wire.Publish{Channel: own.key, Body: []byte{0xf6}}) // behind them
	testkit.Next(t, got)
	own.hub.mu.Lock()
	waits := len(own.hub.waits)
	own.hub.mu.Unlock()
	if most := (4*flowWindow + 1<<20) / len(body); waits == 0 || waits > most {
		t.Errorf("%d deliveries wait, at most %d may", waits, most)
	}

	// The peer cannot make the runtime dial at will.
	for i := range uint64(10 * maxDialling) {
		ch := wire.HandleValue{ID: wire.NewID(), Host: "192.0.2.1", Port: 9, Seq: 1, Name: "x"}
		h.send(&wire.Enroll{Call: 1<<41 + i, Coro: publicKey(victim), Channel: ch})
	}
	h.send(&wire.Publish{Channel: own.key, Body: []byte{0xf6}})
	testkit.Next(t, got)
	links := len(rt.net.All())
	if links > maxDialling+1 {
		t.Errorf("%d links", links)
	}

	h.conn.Close()
	_ = waitEnded(t, l)
	testkit.Eventually(t, "all of it is forgotten", func() bool {
		own.hub.mu.Lock()
		defer own.hub.mu.Unlock()
		return len(own.hub.order) == 1 && len(own.hub.waits) == 0 && len(own.hub.peers) == 0
	})
	stillServes(t, rt)
}

// drain reads what arrives, so that the runtime need not wait.
func (h *hostile) drain() error {
	buf := make([]byte, 64<<10)
	for {
		if _, err := h.frames.Read(buf); err != nil {
			return err
		}
	}
}

// TestChannelPublishedToClosed sends from another runtime, without an answer, to a closed channel.
// The sender gets the error once.
func TestChannelPublishedToClosed(t *testing.T) {
	t.Parallel()
	a, b := twoRuntimes(t, Config{})
	own := newChannel(t, a)
	ch := channelAt(b, own)
	wantError(t, "Close", own.Close(), nil)
	testkit.Eventually(t, "Send tells", func() bool {
		err := ch.Send(1)
		return errors.Is(err, ErrClosed) && strings.Contains(err.Error(), "earlier message")
	})
}
