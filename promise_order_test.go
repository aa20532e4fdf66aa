package discoro

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/discoro/discoro/internal/testkit"
)

// soakMsg is one message of a soak.
type soakMsg struct {
	N    int
	Body []byte
}

func init() { RegisterType[soakMsg]("promise.soak") }

// soakBody returns what message i carries: mostly little, and now and then what travels in parts.
func soakBody(i int) int {
	switch {
	case i%50_000 == 49_999:
		return 3 << 20
	case i%5_000 == 4_999:
		return 200 << 10
	case i%500 == 499:
		return 60 << 10
	case i%50 == 49:
		return 2_000
	}
	return i % 40
}

// soak sends plan, message by message, to a coroutine of another runtime or of the same, and returns what came.
func soak(t *testing.T, from, to *Runtime, plan func(yield func(int) bool), n int) []int {
	t.Helper()
	got := make(chan []int, 1)
	sink := to.Spawn("sink", func(c *Coro) (any, error) {
		seen := make([]int, 0, n)
		defer func() { got <- seen }()
		for {
			msg, err := ReceiveAs[soakMsg](c)
			if err != nil {
				return nil, err
			}
			if msg.N < 0 {
				return nil, nil
			}
			if len(msg.Body) != soakBody(msg.N) {
				return nil, fmt.Errorf("message %d has %d bytes", msg.N, len(msg.Body))
			}
			seen = append(seen, msg.N)
		}
	})
	h := coroAt(from, sink)
	large := make([]byte, 3<<20)
	sender := from.Spawn("sender", func(c *Coro) (any, error) {
		for i := range plan {
			if err := h.Send(soakMsg{i, large[:soakBody(i)]}); err != nil {
				return nil, err
			}
			if i%1000 == 0 { // so that a mailbox in the same runtime does not hold them all
				if err := c.Yield(); err != nil {
					return nil, err
				}
			}
		}
		return nil, h.Deliver(c, soakMsg{N: -1})
	})
	if err := sender.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if err := sink.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	return testkit.Next(t, got)
}

// countTo counts to n.
func countTo(n int) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}

// TestPromise01Order: messages from A to B that arrive, arrive in the order A sent them.
func TestPromise01Order(t *testing.T) {
	t.Parallel()
	t.Run("every size by Send and Deliver", messagesArriveInOrder)
	t.Run("many senders", manySendersShareAQueue)
	t.Run("the ledger", func(t *testing.T) {
		t.Parallel()
		// What a soak with one mistake in it looks like, all the way through a link.
		const n, at = 2_000, 1_000
		a, b := twoRuntimes(t, Config{})
		for want, mistake := range map[string][]int{
			"": {at, at + 1}, "repeat": {at, at, at + 1}, "gap": {at + 1}, "swap": {at + 1, at},
		} {
			plan := func(yield func(int) bool) {
				for i := range n {
					switch {
					case i == at:
						for _, k := range mistake {
							if !yield(k) {
								return
							}
						}
					case i != at+1 && !yield(i):
						return
					}
				}
			}
			err := testkit.CheckLedger(soak(t, a, b, plan, n), n)
			if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
				t.Errorf("with a planted %q the ledger says %v", want, err)
			}
		}
	})
	t.Run("across links", func(t *testing.T) {
		t.Parallel()
		orderAcrossLinks(t)
	})
}

// orderAcrossLinks has a coroutine send on while its link is cut again and again: messages may be lost at each cut, and none
// comes late or twice.
func orderAcrossLinks(t *testing.T) {
	t.Helper()
	b := testRuntime(t, Config{Name: "b"})
	a := testRuntime(t, Config{Name: "a"})
	p := newProxy(t, b.Location())
	got := collect(t, b, "collect")
	c := coroThrough(a, b.named("collect"), p.location()) // dialled through the proxy
	over := make(chan struct{})
	sent := make(chan int, 1)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-over:
				sent <- i
				return
			default:
			}
			if err := c.Send([]any{i, strings.Repeat("x", 40+i%7*20_000)}); err != nil && !errors.Is(err, ErrDisconnected) {
				t.Error(err)
			}
		}
	}()
	last, came := -1, 0
	for cuts := 0; cuts < 5; {
		i := testkit.Next(t, got).([]any)[0].(int)
		if i <= last {
			t.Fatalf("message %d came behind %d", i, last)
		}
		last = i
		if came++; came%50 == 0 {
			p.Cut()
			cuts++
		}
	}
	close(over)
	n := testkit.Next(t, sent)
	t.Logf("%d messages came while %d were sent, the last one was %d", came, n, last)
	for { // what is under way
		select {
		case msg := <-got:
			if i := msg.([]any)[0].(int); i <= last {
				t.Fatalf("message %d came behind %d", i, last)
			} else {
				last = i
			}
			continue
		case <-time.After(50 * time.Millisecond):
		}
		break
	}
}

// TestPromise02NoGapNoRepeat: while a link lives, what B has received is a prefix of what A sent on it.
func TestPromise02NoGapNoRepeat(t *testing.T) {
	t.Parallel()
	n := 1_000_000
	if testing.Short() {
		n = 20_000
	}
	for _, where := range []string{"remote", "local"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			a := testRuntime(t, Config{Name: "a", MsgTimeout: time.Minute})
			b := a
			if where == "remote" {
				b = testRuntime(t, Config{Name: "b"})
				connect(t, a, b.Location())
			}
			start := time.Now()
			got := soak(t, a, b, countTo(n), n)
			t.Logf("%d messages in %v", n, time.Since(start))
			if err := testkit.CheckLedger(got, n); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("prefix", func(t *testing.T) {
		t.Parallel()
		prefixOfEachLink(t)
	})
}

// prefixOfEachLink cuts links in the middle of messages: of what was sent on each, a prefix has come.
func prefixOfEachLink(t *testing.T) {
	t.Helper()
	b := testRuntime(t, Config{Name: "b"})
	a := testRuntime(t, Config{Name: "a"})
	p := newProxy(t, b.Location())
	got := collect(t, b, "collect")
	cut := 0
	for round := range 8 {
		connect(t, a, p.location())
		l, far := upLink(t, a, b), upLink(t, b, a)
		c := coroThrough(a, b.named("collect"), p.location())
		sent := make(chan int, 1)
		go func() {
			n := 0
			for ; l.Cause() == nil; n++ {
				body := strings.Repeat("x", 10+n%5*30_000)
				encode := func(dst []byte) ([]byte, error) { return a.appendMessage(dst, []any{round, n, body}) }
				if err := l.Send(c.key, encode); err != nil {
					break
				}
			}
			sent <- n
		}()
		var seen []int
		take := func(msg any) {
			m := msg.([]any)
			if m[0].(int) != round {
				t.Fatalf("a message of round %d came in round %d", m[0], round)
			}
			seen = append(seen, m[1].(int))
		}
		for range 1 + round*15 {
			take(testkit.Next(t, got))
		}
		p.Cut()
		n := testkit.Next(t, sent)
		_, _ = waitEnded(t, l), waitEnded(t, far)
		if err := b.named("collect").Send([]any{round, -1}); err != nil { // behind all that came
			t.Fatal(err)
		}
		for {
			msg := testkit.Next(t, got)
			if msg.([]any)[1].(int) == -1 {
				break
			}
			take(msg)
		}
		if len(seen) > n {
			t.Fatalf("%d messages came of %d", len(seen), n)
		}
		if err := testkit.CheckLedger(seen, len(seen)); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		if len(seen) < n {
			cut++
		}
	}
	if cut == 0 {
		t.Error("no cut came in the middle of messages")
	}
}
