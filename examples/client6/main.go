// Command client6 streams data to servers, and gets reports while it does.
//
// The client sends one price after the other to two coroutines at servers, without waiting for
// either. One coroutine follows the moving average, and reports at once when the price leaves its
// usual range. The other one keeps all prices in a file at its server. Example client6_channel does
// the same with a channel. In asyncoro: discoro_client6.py.
//
//	go run ./examples/client6                          # two servers on this machine
//
// On several machines, with the same DISCORO_SECRET everywhere:
//
//	go run ./examples/client6 -node -listen 10.0.0.8:7070    # on 10.0.0.8: a node
//	go run ./examples/client6 -peers 10.0.0.8:7070           # elsewhere: the client
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/examples/internal/demo"
	"github.com/discoro/discoro/examples/internal/prices"
)

// follow and keep run at the servers. Package prices has their bodies.
var (
	follow = discoro.Register("client6.follow", prices.Follow)
	keep   = discoro.Register("client6.keep", func(c *discoro.Coro, _ discoro.None) (int64, error) { return prices.Keep(c) })
)

func main() {
	discoro.Init() // a server process goes no further
	var ticks int
	demo.Main(&demo.Program{
		Name: "client6", Servers: 2,
		Flags: func(fs *flag.FlagSet) { prices.TicksFlag(fs, &ticks) },
		Work: func(ctx context.Context, sched *discoro.Scheduler, _ string) error {
			return run(ctx, sched.Runtime, ticks)
		},
	})
}

func run(ctx context.Context, rt *discoro.Runtime, ticks int) error {
	comp, err := discoro.NewComputation(rt)
	if err != nil {
		return err
	}
	if err := comp.Schedule(ctx); err != nil {
		return err
	}
	client := rt.Spawn("signals", prices.Print)
	follower, err := comp.Run(ctx, follow.With(client))
	if err != nil {
		return err
	}
	keeper, err := comp.Run(ctx, keep.With(discoro.None{}))
	if err != nil {
		return err
	}
	start := time.Now()
	if err := stream(ctx, ticks, follower, keeper); err != nil {
		return err
	}
	got, err1 := discoro.Result[int](ctx, follower)
	size, err2 := discoro.Result[int64](ctx, keeper)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	took := time.Since(start)
	if err := errors.Join(client.Send(prices.End{}), client.Wait(ctx)); err != nil { // after all signals
		return err
	}
	fmt.Printf("%d ticks followed, %d bytes kept\n", got, size)
	fmt.Printf("%d messages received in %.2f s: %.0f messages/s\n", 2*ticks, took.Seconds(), float64(2*ticks)/took.Seconds())
	return comp.Close(ctx)
}

// stream sends as fast as the links accept: Send waits only when the queue of a link is full.
func stream(ctx context.Context, ticks int, to ...*discoro.Coro) error {
	next := prices.Walk(6)
	for i := range ticks + 1 {
		var msg any = prices.End{}
		if i < ticks {
			msg = next()
		}
		err := context.Cause(ctx) // Send does not look at ctx
		for _, coro := range to {
			if err == nil {
				err = coro.Send(msg)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
