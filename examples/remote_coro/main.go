// Command remote_coro is two programs that find each other by the name of a coroutine.
//
// One program registers a coroutine. The other one locates it, sends messages to it, asks it, and
// watches it end. There are no nodes and no scheduler. In asyncoro: remote_coro_server.py and
// remote_coro_client.py.
//
//	go run ./examples/remote_coro                      # starts the other program itself
//
// In two terminals, or on two machines of one network with the same DISCORO_SECRET:
//
//	go run ./examples/remote_coro -serve -timeout 10m
//	go run ./examples/remote_coro -find
//
// Where the network does not let them find each other, give one -listen HOST:PORT and the other -peers HOST:PORT.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/examples/internal/demo"
)

// Done says that no more numbers come.
type Done struct{}

func init() { discoro.RegisterType[Done]("remote_coro.done") }

func main() {
	var serve, find bool
	var name string
	demo.Main(&demo.Program{
		Name: "remote_coro",
		Flags: func(fs *flag.FlagSet) {
			fs.BoolVar(&serve, "serve", false, "be the program that has the coroutine")
			fs.BoolVar(&find, "find", false, "find one that runs already, and start none")
			fs.StringVar(&name, "name", "tally", "the name to register and to find")
		},
		Check: func(*demo.Options) error {
			if serve && find {
				return errors.New("-serve and -find are two programs")
			}
			return nil
		},
		Run: func(ctx context.Context, opt *demo.Options) error {
			switch {
			case serve:
				return serveTally(ctx, opt, name)
			case find:
				return useTally(ctx, opt, name)
			}
			own := fmt.Sprintf("%s-%d", name, os.Getpid()) // no other program's
			return demo.WithSecond(ctx, opt, func() error { return useTally(ctx, opt, own) }, "-serve", "-name", own)
		},
	})
}

// serveTally is one of the two programs. It ends when its coroutine ends.
func serveTally(ctx context.Context, opt *demo.Options, name string) error {
	rt, err := discoro.NewRuntime(opt.Config())
	if err != nil {
		return err
	}
	coro := rt.Spawn("tally", tally)
	err = coro.Register(name)
	if err == nil {
		err = coro.Wait(ctx)
	}
	return errors.Join(err, rt.Close())
}

// tally adds up the numbers that come as messages, and answers requests with the sum.
func tally(c *discoro.Coro) (any, error) {
	sum := 0
	for {
		msg, err := c.Receive()
		if err != nil {
			return nil, err
		}
		switch m := msg.(type) {
		case int:
			sum += m
		case *discoro.Request: // another coroutine waits for a reply
			if err := m.Reply(sum); err != nil {
				return nil, err
			}
		case Done:
			return sum, nil
		default:
			c.Logger().Warn("not a number", "message", fmt.Sprint(m))
		}
	}
}

// useTally is the other program.
func useTally(ctx context.Context, opt *demo.Options, name string) (err error) {
	rt, err := discoro.NewRuntime(opt.Config())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rt.Close()) }()
	coro, err := demo.Find(ctx, func() (*discoro.Coro, error) { return rt.Locate(ctx, name) })
	if err != nil {
		return err
	}
	fmt.Printf("found the coroutine %q of another program\n", coro.Name())
	watcher := rt.Spawn("watcher", func(c *discoro.Coro) (any, error) { return discoro.ReceiveAs[discoro.Exit](c) })
	if err := coro.Monitor(ctx, watcher); err != nil {
		return err
	}
	for n := range 1000 {
		if err := coro.Send(n + 1); err != nil { // arrives in this order
			return err
		}
	}
	sum, err := discoro.Ask[int](ctx, coro, "how much?") // after all numbers
	if err != nil {
		return err
	}
	fmt.Println("asked, it says:", sum)
	if err := coro.Send(Done{}); err != nil {
		return err
	}
	exit, err := discoro.Result[discoro.Exit](ctx, watcher)
	if err != nil {
		return err
	}
	last, err := discoro.ExitResult[int](exit)
	fmt.Println("it has ended, with the result:", last)
	return err
}
