package bench

import (
	"log/slog"
	"testing"
	"time"

	"github.com/discoro/discoro"
)

// Within a process: channels are the yardstick.

func chanPingPong(b *testing.B, n int) time.Duration {
	b.Helper()
	start := time.Now()
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
	return time.Since(start)
}

func chanOneWay(_ *testing.B, n int) time.Duration { return chanSend(n, 1, 1) }

func chanManyToMany(_ *testing.B, n int) time.Duration { return chanSend(n, pairs, pairs) }

// chanSend sends n messages from so many goroutines over so many channels of 1024 slots, each in turn over all.
func chanSend(n, from, to int) time.Duration {
	start := time.Now()
	sinks, done := make([]chan any, to), make(chan struct{})
	for i := range sinks {
		mine := n
		if to > 1 {
			mine = shares(n, i)
		}
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
	return time.Since(start)
}

// localDiscoro is a runtime with the coroutines in this process.
func localDiscoro(b *testing.B) *discoroPeer {
	b.Helper()
	rt, err := discoro.NewRuntime(discoro.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	p := &discoroPeer{rt: rt, echo: rt.Spawn("echo", echoCoro)}
	for range pairs {
		p.sinks = append(p.sinks, rt.Spawn("sink", sinkCoro))
	}
	b.Cleanup(func() {
		if err := p.close(); err != nil {
			b.Error(err)
		}
	})
	return p
}
