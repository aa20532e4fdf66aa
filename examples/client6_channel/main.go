// Command client6_channel streams data to servers by a channel, and gets reports while it does.
//
// The client sends each price once, and the channel passes it on to all subscribers, here two
// coroutines at servers. One follows the moving average, and reports at once when the price leaves
// its usual range. The other one keeps all prices in a file at its server. Example client6 does the
// same without a channel. In asyncoro: discoro_client6_channel.py.
//
//	go run ./examples/client6_channel                          # two servers on this machine
//
// On several machines, with the same DISCORO_SECRET everywhere:
//
//	go run ./examples/client6_channel -node -listen 10.0.0.8:7070    # on 10.0.0.8: a node
//	go run ./examples/client6_channel -peers 10.0.0.8:7070           # elsewhere: the client
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

// Feed is the argument of the two functions: where prices come from, and who receives trends.
type Feed struct {
	Prices *discoro.Channel
	Client *discoro.Coro
}

// follow and keep run at the servers, and subscribe themselves. Package prices has what they do then.
var (
	follow = discoro.Register("client6_channel.follow", func(c *discoro.Coro, f Feed) (int, error) {
		if err := f.Prices.Subscribe(c, c); err != nil {
			return 0, err
		}
		return prices.Follow(c, f.Client)
	})
	keep = discoro.Register("client6_channel.keep", func(c *discoro.Coro, f Feed) (int64, error) {
		if err := f.Prices.Subscribe(c, c); err != nil {
			return 0, err
		}
		return prices.Keep(c)
	})
)

func main() {
	discoro.Init() // a server process goes no further
	var ticks int
	demo.Main(&demo.Program{
		Name: "client6_channel", Servers: 2,
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
	channel, err := rt.NewChannel("prices")
	if err != nil {
		return err
	}
	client := rt.Spawn("signals", prices.Print)
	feed := Feed{Prices: channel, Client: client}
	follower, err := comp.Run(ctx, follow.With(feed))
	if err != nil {
		return err
	}
	keeper, err := comp.Run(ctx, keep.With(feed))
	if err != nil {
		return err
	}
	start := time.Now()
	if err := stream(ctx, ticks, channel); err != nil {
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
	return errors.Join(channel.Close(), comp.Close(ctx))
}

// stream sends the first price when there are two subscribers, and the others as fast as the links
// accept: Send waits only when the queue of a link is full.
func stream(ctx context.Context, ticks int, channel *discoro.Channel) error {
	next := prices.Walk(6)
	for i := range ticks + 1 {
		var msg any = prices.End{}
		if i < ticks {
			msg = next()
		}
		err := context.Cause(ctx) // Send does not look at ctx
		switch {
		case i == 0:
			_, err = channel.Deliver(ctx, msg, 2)
		case err == nil:
			err = channel.Send(msg)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
