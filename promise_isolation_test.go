package discoro

import (
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/discoro/discoro/internal/testkit"
)

const (
	isolationLarge  = 60 << 20 // bytes of a large message
	isolationSecret = "sixteen characters and more"
)

// TestPromise10Isolation: a coroutine that does not receive, and messages of 60 MiB, do not hold up small messages to other
// coroutines, nor signs of life. What is tested is order: what begins behind a large message ends before it. The times are
// in BenchmarkIsolation.
func TestPromise10Isolation(t *testing.T) { //nolint:tparallel // one after the other: each takes a few hundred MiB
	t.Parallel()
	for _, secret := range []string{"", isolationSecret} {
		t.Run("secret="+strconv.FormatBool(secret != ""), func(t *testing.T) { isolation(t, secret) })
	}
}

func isolation(t *testing.T, secret string) {
	t.Helper()
	const (
		pulse  = time.Second // a process that takes so much memory at once may stand still for a while
		trips  = 20
		speed  = 16 << 20 // bytes a second: a large message takes four seconds
		deaf   = 5_000    // messages for the coroutine that does not receive
		others = 2        // coroutines that large messages are for
	)
	var bulk sync.WaitGroup
	t.Cleanup(bulk.Wait) // behind the runtimes' Close, which ends what a test that failed has left
	cfg := Config{Name: "b", Addr: "127.0.0.1", Secret: secret, MsgTimeout: 5 * time.Minute, tuning: tuning{pulse: pulse}}
	b := testRuntime(t, cfg)
	cfg.Name = "a"
	a := testRuntime(t, cfg)
	connect(t, a, slowProxy(t, b.Location(), speed))
	ctx := t.Context()
	if err := spawnEcho(b, "echo"); err != nil {
		t.Fatal(err)
	}
	never := b.Spawn("never receives", func(c *Coro) (any, error) { return nil, c.Sleep(time.Hour) })
	echo := locate(t, a, b, "echo")
	if _, err := Ask[int](ctx, echo, 0); err != nil {
		t.Fatal(err)
	}
	var whole atomic.Int64 // large messages that have come
	large := make([]byte, isolationLarge)
	l := upLink(t, a, b)
	for range others {
		sink := b.Spawn("sink", func(c *Coro) (any, error) {
			msg, err := ReceiveAs[[]byte](c)
			if err == nil && len(msg) != isolationLarge {
				t.Errorf("a large message has %d bytes", len(msg))
			}
			whole.Add(1)
			return nil, err
		})
		h := coroAt(a, sink)
		bulk.Go(func() {
			if err := h.Send(large); err != nil {
				t.Error(err)
			}
			if err := sink.Wait(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	waiting := func() int {
		return l.Load().Queued
	}
	testkit.Eventually(t, "a large message is on its way", func() bool { n := waiting(); return 0 < n && n < isolationLarge })
	deafTo := coroAt(a, never)
	for i := range deaf {
		if err := deafTo.Send(i); err != nil {
			t.Fatal(err)
		}
	}
	for i := range trips {
		if n, err := Ask[int](ctx, echo, i); n != i || err != nil {
			t.Fatalf("round trip %d: %d, %v", i, n, err)
		}
		if whole.Load() != 0 {
			t.Fatalf("round trip %d ended behind the large message that it began behind", i)
		}
	}
	if err := deafTo.Deliver(ctx, deaf); err != nil { // they are all in its mailbox
		t.Fatal(err)
	}
	if whole.Load() != 0 {
		t.Error("the small messages came behind a large one")
	}
	// From now on b has nothing to say but that it lives.
	frames := a.Traffic().FramesReceived
	testkit.Eventually(t, "signs of life come", func() bool { return a.Traffic().FramesReceived >= frames+2 })
	if n := whole.Load(); n == others {
		t.Error("signs of life came behind the large messages")
	}
	bulk.Wait()
	if err := l.Cause(); err != nil || upLink(t, b, a).Cause() != nil {
		t.Errorf("the link ended: %v", err)
	}
}

// BenchmarkIsolation measures small round trips on an idle link, and behind large messages that never stop.
func BenchmarkIsolation(b *testing.B) {
	for _, secret := range []string{"", isolationSecret} {
		for _, behind := range []string{"idle", "60MiB"} {
			b.Run("secret="+strconv.FormatBool(secret != "")+"/"+behind, func(b *testing.B) {
				benchIsolation(b, secret, behind != "idle")
			})
		}
	}
}

func benchIsolation(b *testing.B, secret string, behind bool) {
	b.Helper()
	var rts [2]*Runtime
	for i := range rts {
		rt, err := NewRuntime(Config{Addr: "127.0.0.1", Secret: secret, MsgTimeout: time.Minute, Logger: discard})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { rt.Close() })
		rts[i] = rt
	}
	here, there := rts[0], rts[1]
	if _, err := here.Connect(b.Context(), there.loc.String()); err != nil {
		b.Fatal(err)
	}
	if err := spawnEcho(there, "echo"); err != nil {
		b.Fatal(err)
	}
	echo, err := here.Locate(b.Context(), "echo", there.loc)
	if err != nil {
		b.Fatal(err)
	}
	var bulk sync.WaitGroup
	var over atomic.Bool
	var moved atomic.Int64
	started := make(chan struct{})
	if behind {
		large := make([]byte, isolationLarge)
		sink := there.Spawn("sink", func(c *Coro) (any, error) {
			for {
				if _, err := ReceiveAs[[]byte](c); err != nil {
					return nil, err
				}
			}
		})
		h := coroAt(here, sink)
		bulk.Go(func() {
			for i := 0; !over.Load(); i++ {
				if err := h.Send(large); err != nil {
					b.Error(err)
				}
				if moved.Add(1); i == 0 {
					close(started)
				}
			}
		})
		<-started
	}
	times := make([]time.Duration, 0, b.N)
	b.ResetTimer()
	for i := range b.N {
		start := time.Now()
		if _, err := Ask[int](b.Context(), echo, i); err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(start))
	}
	b.StopTimer()
	over.Store(true)
	bulk.Wait()
	slices.Sort(times)
	ms := func(p int) float64 { return float64(times[len(times)*p/100]) / float64(time.Millisecond) }
	b.ReportMetric(ms(50), "p50-ms")
	b.ReportMetric(ms(99), "p99-ms")
	if behind {
		b.ReportMetric(float64(moved.Load()*isolationLarge)/b.Elapsed().Seconds()/1e6, "bulk-MB/s")
	}
}
