// Command client8 sends messages to a coroutine that computes for long and never waits.
//
// The messages wait in its mailbox. Deliver returns when a message is in the mailbox. A coroutine
// that computes delays the other coroutines of its server, and nothing else. In asyncoro:
// discoro_client8.py.
//
//	go run ./examples/client8                          # two servers on this machine
//
// On several machines, with the same DISCORO_SECRET everywhere:
//
//	go run ./examples/client8 -node -listen 10.0.0.8:7070    # on 10.0.0.8: a node
//	go run ./examples/client8 -peers 10.0.0.8:7070           # elsewhere: the client
package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/examples/internal/demo"
)

// Range is the numbers from From to below To.
type Range struct {
	Client   *discoro.Coro // receives a message when the computation begins
	From, To int
}

// Found is the number that takes the most steps to 1, and how many messages came meanwhile.
type Found struct {
	Number, Steps int
	Waited, Sum   int
}

const messages = 10

// collatz computes for a while, and looks into its mailbox only then.
var collatz = discoro.Register("client8.collatz", func(c *discoro.Coro, r Range) (f Found, err error) {
	if err := r.Client.Send("computing"); err != nil {
		return f, err
	}
	for n := r.From; n < r.To; n++ { // no yield point from here
		if steps := stepsToOne(n); steps > f.Steps {
			f.Number, f.Steps = n, steps
		}
	}
	for c.Err() == nil && f.Waited < messages { // the client may be slow; neither Err nor Mailbox is a yield point
		f.Waited, _ = c.Mailbox()
	} // to here
	for range f.Waited {
		n, err := discoro.ReceiveAs[int](c)
		if err != nil {
			return f, err
		}
		f.Sum += n
	}
	return f, nil
})

func stepsToOne(n int) (steps int) {
	for ; n != 1; steps++ {
		if n%2 == 0 {
			n /= 2
		} else {
			n = 3*n + 1
		}
	}
	return steps
}

func main() {
	discoro.Init() // a server process goes no further
	demo.Main(&demo.Program{Name: "client8", Servers: 2, Work: run})
}

func run(ctx context.Context, sched *discoro.Scheduler, _ string) error {
	comp, err := discoro.NewComputation(sched.Runtime)
	if err != nil {
		return err
	}
	rcs, err := discoro.NewRemoteCoroScheduler(comp)
	if err != nil {
		return err
	}
	var clients []*discoro.Coro
	for _, r := range []Range{{From: 1, To: 1_000_000}, {From: 1_000_000, To: 2_000_000}, {From: 2_000_000, To: 3_000_000}} {
		clients = append(clients, sched.Spawn("client", func(c *discoro.Coro) (any, error) { return compute(c, rcs, r) }))
	}
	for _, c := range clients {
		text, err := discoro.Result[string](ctx, c)
		if err != nil {
			return err
		}
		fmt.Print(text)
	}
	return rcs.Finish(ctx, true)
}

// compute has a server compute, sends messages to it meanwhile, and returns a line about that.
func compute(c *discoro.Coro, rcs *discoro.RemoteCoroScheduler, r Range) (text string, err error) {
	r.Client = c
	coro, err := rcs.Schedule(c, collatz.With(r)) // waits for a server that is free
	if err != nil {
		return "", err
	}
	if err := coro.Monitor(c, c); err != nil { // its loss comes as a message too
		return "", err
	}
	msg, err := c.Receive()
	if exit, ended := msg.(discoro.Exit); ended {
		return "", errors.Join(exit.Err, errors.New("it ended before it began"))
	}
	for i := 1; err == nil && i <= messages; i++ {
		err = coro.Deliver(c, i)
	}
	if err != nil {
		return "", err
	}
	f, err := discoro.Result[Found](c, coro)
	return fmt.Sprintf("%d..%d: %d takes the most steps to 1, %d; meanwhile %d messages came, with a sum of %d\n",
		r.From, r.To-1, f.Number, f.Steps, f.Waited, f.Sum), err
}
