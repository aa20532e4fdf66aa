package test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/discoro/discoro"
)

// These benchmarks compare coroutines with what Go itself has for the same work. Because the
// machine may be busy, each one measures both alternately, in slices of a few milliseconds, and
// reports the ratio of the totals.

// sideBySide runs ours and yardstick alternately, each for n units a call. It reports the ns a unit
// of both, and their ratio: with times set, our time in units of the yardstick's (smaller is
// better), otherwise our speed in units of the yardstick's (larger is better).
func sideBySide(b *testing.B, slice int, metric string, times bool, ours, yardstick func(n int)) {
	b.Helper()
	ours(slice)
	yardstick(slice)
	b.ResetTimer()
	var spent, yard time.Duration
	for done := 0; done < b.N; done += slice {
		n := min(slice, b.N-done)
		start := time.Now()
		ours(n)
		middle := time.Now()
		yardstick(n)
		spent += middle.Sub(start)
		yard += time.Since(middle)
	}
	b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N), "ns/op")
	b.ReportMetric(float64(yard.Nanoseconds())/float64(b.N), "yardstick-ns/op")
	ratio := float64(spent) / float64(yard)
	if !times {
		ratio = 1 / ratio
	}
	b.ReportMetric(ratio, metric)
}

func benchRuntime(b *testing.B) *discoro.Runtime {
	b.Helper()
	rt, err := discoro.NewRuntime()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = rt.Close() })
	return rt
}

// BenchmarkCoroPingPong is a round trip between two coroutines, compared with one over two
// unbuffered channels. The ratio of times should be at most 1.
func BenchmarkCoroPingPong(b *testing.B) {
	rt := benchRuntime(b)
	ours := func(n int) {
		pong := rt.Spawn("pong", func(c *discoro.Coro) (any, error) {
			for range n {
				msg, err := c.Receive()
				if err != nil {
					return nil, err
				}
				if err := msg.(*discoro.Coro).Send(c); err != nil {
					return nil, err
				}
			}
			return nil, nil
		})
		ping := rt.Spawn("ping", func(c *discoro.Coro) (any, error) {
			for range n {
				if err := pong.Send(c); err != nil {
					return nil, err
				}
				if _, err := c.Receive(); err != nil {
					return nil, err
				}
			}
			return nil, nil
		})
		if err := ping.Wait(context.Background()); err != nil {
			b.Error(err)
		}
	}
	yardstick := func(n int) {
		there, back := make(chan any), make(chan any)
		go func() {
			for range n {
				back <- <-there
			}
		}()
		for range n {
			there <- b
			<-back
		}
	}
	sideBySide(b, 20000, "times-two-channels", true, ours, yardstick)
}

// BenchmarkCoroOneWay is a message from one coroutine to another, compared with one over a channel
// of 1024. The ratio of speeds should be at least 0.85.
func BenchmarkCoroOneWay(b *testing.B) {
	rt := benchRuntime(b)
	sideBySide(b, 100000, "of-a-channel's-speed", false, func(n int) { fanIn(b, rt, 1, 1, n) }, func(n int) { chanFanIn(1, 1, n) })
}

// BenchmarkCoro100To100 is a message from one of 100 coroutines to one of 100 others, compared with
// the same over channels of 1024. The ratio of speeds should be at least 0.55.
func BenchmarkCoro100To100(b *testing.B) {
	rt := benchRuntime(b)
	sideBySide(b, 100000, "of-channels'-speed", false, func(n int) { fanIn(b, rt, 100, 100, n) }, func(n int) { chanFanIn(100, 100, n) })
}

// fanIn sends n messages from some coroutines to others. Each sends to all of them in turn.
func fanIn(b *testing.B, rt *discoro.Runtime, from, to, n int) {
	b.Helper()
	sinks := make([]*discoro.Coro, to)
	for i := range sinks {
		mine := shares(n, from, to, i)
		sinks[i] = rt.Spawn("sink", func(c *discoro.Coro) (any, error) {
			for range mine {
				if _, err := c.Receive(); err != nil {
					return nil, err
				}
			}
			return nil, nil
		})
	}
	for s := range from {
		rt.Spawn("source", func(*discoro.Coro) (any, error) {
			for i := range share(n, from, s) {
				if err := sinks[i%to].Send(b); err != nil {
					return nil, err
				}
			}
			return nil, nil
		})
	}
	for _, c := range sinks {
		if err := c.Wait(context.Background()); err != nil {
			b.Error(err)
		}
	}
}

// share returns how many of n fall to the i-th of so many, dealt out in turn.
func share(n, among, i int) int { return (n - i + among - 1) / among }

// shares returns how many of n messages reach the i-th sink. Each source deals its own share out in
// turn.
func shares(n, from, to, i int) int {
	sum := 0
	for s := range from {
		sum += share(share(n, from, s), to, i)
	}
	return sum
}

// chanFanIn is fanIn with goroutines and channels.
func chanFanIn(from, to, n int) {
	sinks := make([]chan any, to)
	done := make(chan struct{})
	for i := range sinks {
		mine := shares(n, from, to, i)
		sinks[i] = make(chan any, 1024)
		go func() {
			for range mine {
				<-sinks[i]
			}
			done <- struct{}{}
		}()
	}
	for s := range from {
		go func() {
			for i := range share(n, from, s) {
				sinks[i%to] <- done
			}
		}()
	}
	for range sinks {
		<-done
	}
}

// BenchmarkCoroSpawn is a coroutine from its spawn to its end, with 100,000 started before the
// first is waited for, compared with a goroutine that sends its result over an unbuffered channel.
// The ratio of speeds should be at least 0.65.
func BenchmarkCoroSpawn(b *testing.B) {
	rt := benchRuntime(b)
	ours := func(n int) {
		coros := make([]*discoro.Coro, n)
		for i := range coros {
			coros[i] = rt.Spawn("worker", func(*discoro.Coro) (any, error) { return nil, nil })
		}
		for _, c := range coros {
			if err := c.Wait(context.Background()); err != nil {
				b.Error(err)
			}
		}
	}
	yardstick := func(n int) {
		results := make([]chan any, n)
		for i := range results {
			results[i] = make(chan any)
			go func() { results[i] <- nil }()
		}
		for _, ch := range results {
			<-ch
		}
	}
	sideBySide(b, 100000, "of-goroutines'-speed", false, ours, yardstick)
}

// idle is how many coroutines, or goroutines, are alive when their memory is measured.
const idle = 100000

// BenchmarkCoroMemory is the memory of an idle coroutine, with 100,000 alive, compared with a
// goroutine that waits on a channel of its own. The ratio should be at most 1.2. Go keeps the
// descriptors of ended goroutines and uses them again, so neither side pays for those.
func BenchmarkCoroMemory(b *testing.B) {
	rt := benchRuntime(b)
	idleGoroutines()
	idleCoros(b, rt)
	var ours, yard float64
	for b.Loop() {
		ours += idleCoros(b, rt)
		yard += idleGoroutines()
	}
	b.ReportMetric(ours/float64(b.N)/idle, "B/coroutine")
	b.ReportMetric(yard/float64(b.N)/idle, "B/goroutine")
	b.ReportMetric(ours/yard, "times-a-goroutine")
}

// idleCoros returns how much more memory is in use while that many coroutines wait for a message.
func idleCoros(b *testing.B, rt *discoro.Runtime) float64 {
	b.Helper()
	before := memory()
	coros := make([]*discoro.Coro, idle)
	for i := range coros {
		coros[i] = rt.Spawn("idle", func(c *discoro.Coro) (any, error) { return c.Receive() })
	}
	// They run in order: when the last one has ended, all the others wait.
	last := rt.Spawn("last", func(*discoro.Coro) (any, error) { return nil, nil })
	if err := last.Wait(context.Background()); err != nil {
		b.Fatal(err)
	}
	more := memory() - before
	for _, c := range coros {
		if err := c.Send(nil); err != nil {
			b.Fatal(err)
		}
	}
	for _, c := range coros {
		if err := c.Wait(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	return more
}

// idleGoroutines is idleCoros for goroutines that each wait on a channel.
func idleGoroutines() float64 {
	before := memory()
	chans := make([]chan any, idle)
	started, ended := make(chan struct{}), make(chan struct{})
	for i := range chans {
		chans[i] = make(chan any)
		go func() {
			started <- struct{}{}
			<-chans[i]
			ended <- struct{}{}
		}()
	}
	for range chans {
		<-started
	}
	more := memory() - before
	for _, ch := range chans {
		ch <- nil
	}
	for range chans {
		<-ended
	}
	return more
}

// memory returns the memory in use, heap and stacks together.
func memory() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapInuse + m.StackInuse)
}
