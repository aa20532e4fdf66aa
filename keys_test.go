package discoro

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/discoro/discoro/internal/ratelog"
	"github.com/discoro/discoro/internal/testkit"
	"github.com/discoro/discoro/wire"
)

// guessedKeys has a proven peer, which was given the handle of one coroutine and of one channel,
// try all methods on others. It guesses them by the numbers that a count would have given them, and
// by neighbours of the keys that it knows. None of those is reached.
func guessedKeys(t *testing.T) {
	t.Parallel()
	log := &testkit.Log{}
	rt := testRuntime(t, Config{Logger: log.Logger()})
	given := rt.Spawn("given", func(c *Coro) (any, error) { return c.Receive() })
	news := newChannel(t, rt)
	var victims []*Coro
	var channels []*Channel
	for i := range 100 {
		c := rt.Spawn("victim", func(c *Coro) (any, error) { return c.Receive() })
		if victims = append(victims, c); i%2 == 0 { // of some others have handles, of some nobody has
			publicKey(c)
		}
		ch := newChannel(t, rt)
		if channels = append(channels, ch); i%2 == 0 {
			wantError(t, "Subscribe", ch.Subscribe(testkit.Context(t), c), nil)
		}
	}
	h := newHostile(t, rt, false)
	l := h.link(rt)
	h.send(&wire.Message{To: publicKey(given), Body: []byte{1}})
	if v, err := Result[int](testkit.Context(t), given); v != 1 || err != nil {
		t.Fatalf("what it was given: %d, %v", v, err)
	}

	guesses := []uint64{0, 1<<63 - 1, 1 << 63, 1<<64 - 1}
	for n := range uint64(10_000) {
		guesses = append(guesses, n+1)
	}
	for _, known := range []uint64{publicKey(given), news.key} {
		for n := range uint64(500) {
			guesses = append(guesses, known-n-1, known+n+1)
		}
		for bit := range 64 {
			guesses = append(guesses, known^1<<bit)
		}
	}
	wrong := make(chan wire.Frame, 1)
	// It reads, or it would be thrown out; one that is reached may never answer.
	_ = h.frames.SetReadDeadline(time.Now().Add(testkit.Patience))
	go func() {
		defer close(wrong)
		for r, left := wire.NewReader(h.frames, 1<<20), 8*len(guesses); left > 0; left-- {
			f, _, err := r.Next()
			reply, ok := f.(*wire.Reply)
			if err != nil || !ok || reply.Outcome.Err == nil || !slices.Contains(reply.Outcome.Err.Codes, "discoro.not-found") {
				wrong <- f
				return
			}
		}
	}()
	begun := time.Now()
	call := uint64(1)
	var frames []wire.Frame
	for i, key := range guesses {
		frames = append(frames,
			&wire.Message{To: key, Body: []byte{1}},
			&wire.Exit{To: key, Coro: wire.HandleValue{ID: h.id, Key: 1}, Outcome: wire.Outcome{Body: []byte{1}}},
			&wire.Deliver{Call: call, To: key, Body: []byte{1}},
			&wire.Ask{Call: call + 1, To: key, Body: []byte{1}},
			&wire.Wait{Call: call + 2, Of: key},
			&wire.Enroll{Call: call + 3, Coro: key, Channel: wire.HandleValue{ID: h.id, Key: 1}},
			&wire.Publish{Call: call + 4, Channel: key, Body: []byte{1}},
			&wire.PublishDeliver{Call: call + 5, Channel: key, Body: []byte{1}},
			&wire.Subscribe{Call: call + 6, Channel: key, Coro: 1},
			&wire.CloseChannel{Call: call + 7, Channel: key},
			&wire.Terminate{Of: key},
		)
		if call += 8; len(frames) > 1000 || i == len(guesses)-1 {
			h.send(frames...)
			frames = frames[:0]
		}
	}
	for f := range wrong {
		t.Errorf("a guess was answered with %+v", f)
	}
	for i, c := range victims {
		if s := c.local.state(); s.In != 0 || s.Terminated || s.State != "Receive" {
			t.Fatalf("%v was reached: %+v", c, s)
		}
		ch := channels[i]
		if _, err := rt.channels.find(ch.key); err != nil || ch.hub.count() != (i+1)%2 {
			t.Fatalf("%v was reached: %v, %d are subscribed", ch, err, ch.hub.count())
		}
	}
	if l.Cause() != nil {
		t.Errorf("the link has ended: %v", l.Cause())
	}
	held := l.Load().Served
	rt.channels.mu.Lock()
	held += len(rt.channels.members)
	rt.channels.mu.Unlock()
	if held != 0 {
		t.Errorf("%d calls are still held", held)
	}
	if n, most := log.Count("a frame came for a coroutine"), 1+int(time.Since(begun)/ratelog.Pause); n < 1 || n > most {
		t.Errorf("%d lines, of at most %d:\n%s", n, most, log)
	}
	for _, c := range victims {
		wantError(t, "Deliver", c.Deliver(testkit.Context(t), "end"), nil)
	}
}

// fixedSource gives known numbers.
type fixedSource []uint64

func (s *fixedSource) Uint64() uint64 {
	n := (*s)[0]
	*s = (*s)[1:]
	return n
}

func TestDrawKey(t *testing.T) {
	t.Parallel()
	src := &fixedSource{0, 1, 10, 11, 1<<64 - 1, 7}
	taken := func(key uint64) bool { return key == 5 }
	if key := drawKey(src, taken); key != 1<<63-1 || len(*src) != 1 {
		t.Errorf("%d, and %d numbers are left", key, len(*src))
	}
	if a, b := newKeys().Uint64(), newKeys().Uint64(); a == b {
		t.Errorf("two sources begin with %d", a)
	}
}

// TestKeyOnlyForOthers checks that a coroutine has a key once a handle of it has left the runtime,
// and keeps it.
func TestKeyOnlyForOthers(t *testing.T) {
	t.Parallel()
	a, b := twoRuntimes(t, Config{})
	known := func() int {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.public)
	}
	c := b.Spawn("private", func(c *Coro) (any, error) {
		if _, err := c.Receive(); err != nil {
			return nil, err
		}
		return c.Receive()
	})
	other := b.Spawn("other", func(*Coro) (any, error) { return nil, c.Send(c) })
	if err := other.Wait(testkit.Context(t)); err != nil || known() != 0 || c.local.public != 0 {
		t.Fatalf("%v; %d are known to others", err, known())
	}
	there := coroAt(a, c)
	if known() != 1 || b.coroutine(there.key) != c.local || coroAt(a, c) != there || coroAt(b, there) != c {
		t.Errorf("%v and %v, %d are known", c, there, known())
	}
	if there.String() != c.String() || !strings.HasPrefix(c.String(), "private/1@") {
		t.Errorf("%v here, %v there", c, there)
	}
	wantError(t, "Send", c.Send("end"), nil)
	wantError(t, "Wait", there.Wait(testkit.Context(t)), nil)
	testkit.Eventually(t, "it is forgotten", func() bool { return known() == 0 })
	late := coroAt(a, other) // the handle of one that has ended leaves for the first time
	if known() != 0 || coroAt(b, late) != other || coroAt(b, there) != c || late == there {
		t.Errorf("after the end: %v is %v, %v is %v, %d are known", late, coroAt(b, late), there, coroAt(b, there), known())
	}
}

// TestSendToEndedByName decodes a handle when its coroutine has ended and nobody here held a
// handle. Errors still have the coroutine's name.
func TestSendToEndedByName(t *testing.T) {
	rt := testRuntime(t, Config{})
	gone := rt.liveHandle(wire.HandleValue{ID: rt.id, Host: rt.loc.Addr, Port: rt.loc.Port, Key: 77, Seq: 5, Name: "worker"})
	err := gone.Send("late")
	wantError(t, "Send", err, ErrNotFound)
	if !strings.Contains(err.Error(), gone.String()) || strings.Contains(err.Error(), "/77@") { // the port may have 77 in it
		t.Errorf("the error does not say who: %v", err)
	}
}
