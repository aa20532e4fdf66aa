// Command remote_channel is two programs that find each other by the name of a channel.
//
// One program makes the channel and sends news to it. The other one subscribes coroutines of its
// own. There are no nodes and no scheduler. In asyncoro: remote_channel_server.py and
// remote_channel_client.py.
//
//	go run ./examples/remote_channel                   # starts the other program itself
//
// In two terminals, or on two machines of one network with the same DISCORO_SECRET:
//
//	go run ./examples/remote_channel -serve -timeout 10m
//	go run ./examples/remote_channel -find
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

// News is a message of the channel. The last one is marked.
type News struct {
	Number int
	Text   string
	Last   bool
}

func init() { discoro.RegisterType[News]("remote_channel.news") }

const (
	readers  = 2
	messages = 100
)

func main() {
	var serve, find bool
	var name string
	demo.Main(&demo.Program{
		Name: "remote_channel",
		Flags: func(fs *flag.FlagSet) {
			fs.BoolVar(&serve, "serve", false, "be the program that has the channel")
			fs.BoolVar(&find, "find", false, "find one that runs already, and start none")
			fs.StringVar(&name, "name", "news", "the name to register and to find")
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
				return send(ctx, opt, name)
			case find:
				return read(ctx, opt, name)
			}
			own := fmt.Sprintf("%s-%d", name, os.Getpid()) // no other program's
			return demo.WithSecond(ctx, opt, func() error { return read(ctx, opt, own) }, "-serve", "-name", own)
		},
	})
}

// send is one of the two programs: it sends the news as soon as there are readers.
func send(ctx context.Context, opt *demo.Options, name string) (err error) {
	rt, err := discoro.NewRuntime(opt.Config())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rt.Close()) }()
	channel, err := rt.NewChannel("news")
	if err != nil {
		return err
	}
	if err := channel.Register(name); err != nil {
		return err
	}
	if _, err := channel.Deliver(ctx, News{Number: 1, Text: "the first"}, readers); err != nil { // waits for so many subscribers
		return err
	}
	for n := 2; n < messages; n++ {
		if err := channel.Send(News{Number: n, Text: "more"}); err != nil {
			return err
		}
	}
	reached, err := channel.Deliver(ctx, News{Number: messages, Text: "the last", Last: true}, readers)
	if err == nil && reached < readers {
		err = fmt.Errorf("%d readers are left of %d", reached, readers)
	}
	return err
}

// read is the other program.
func read(ctx context.Context, opt *demo.Options, name string) (err error) {
	rt, err := discoro.NewRuntime(opt.Config())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rt.Close()) }()
	channel, err := demo.Find(ctx, func() (*discoro.Channel, error) { return rt.LocateChannel(ctx, name) })
	if err != nil {
		return err
	}
	fmt.Printf("found the channel %q of another program\n", channel.Name())
	var coros []*discoro.Coro
	for i := range readers {
		coros = append(coros, rt.Spawn("reader", func(c *discoro.Coro) (any, error) { return reader(c, channel, i) }))
	}
	for _, c := range coros {
		text, err := discoro.Result[string](ctx, c)
		if err != nil {
			return err
		}
		fmt.Println(text)
	}
	return nil
}

// reader subscribes itself and reads to the last message.
func reader(c *discoro.Coro, channel *discoro.Channel, number int) (any, error) {
	if err := channel.Subscribe(c, c); err != nil {
		return nil, err
	}
	for got := 1; ; got++ {
		news, err := discoro.ReceiveAs[News](c)
		if err != nil {
			return nil, err
		}
		if news.Number != got {
			return nil, fmt.Errorf("message %d came where %d should have", news.Number, got)
		}
		if news.Last {
			return fmt.Sprintf("reader %d has %d messages, in order; the last: %s", number+1, got, news.Text), nil
		}
	}
}
