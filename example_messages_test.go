package discoro_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/discoro/discoro"
)

// average gets a stream of numbers and tells client of those that are far from the average of the last four; its result is
// how many it got. NaN ends the stream.
var average = discoro.Register("example.average", func(c *discoro.Coro, client *discoro.Coro) (int, error) {
	var last []float64
	for n := 0; ; n++ {
		x, err := discoro.ReceiveAs[float64](c)
		if err != nil || math.IsNaN(x) {
			return n, err
		}
		sum := 0.0
		for _, y := range last {
			sum += y
		}
		if len(last) == 4 && math.Abs(x-sum/4) > 10 {
			if err := client.Send(x); err != nil {
				return n, err
			}
		}
		last = append(last, x)
		last = last[max(0, len(last)-4):]
	}
})

// How does a client stream data to a server, and hear from there while it does?
func ExampleCoro_Send_stream() {
	in(1, func(ctx context.Context, rt *discoro.Runtime, comp *discoro.Computation) error {
		client := rt.Spawn("client", func(c *discoro.Coro) (any, error) { return discoro.ReceiveAs[float64](c) })
		run, err := comp.Run(ctx, average.With(client))
		if err != nil {
			return err
		}
		for i := range 1000 { // Send does not wait for the other side; only while the link's queue is full
			x := float64(i % 7)
			if i == 500 {
				x = 99
			}
			if err := run.Send(x); err != nil {
				return err
			}
		}
		far, err := discoro.Result[float64](ctx, client)
		fmt.Println("far from the average:", far)
		n, err2 := 0, run.Send(math.NaN())
		if err2 == nil {
			n, err2 = discoro.Result[int](ctx, run)
		}
		fmt.Println("numbers:", n)
		return errors.Join(err, err2)
	})
	// Output:
	// far from the average: 99
	// numbers: 1000
}

// How long does a coroutine wait for a message?
func ExampleCoro_ReceiveTimeout() {
	rt, err := discoro.NewRuntime()
	if err != nil {
		fmt.Println(err)
		return
	}
	patient := rt.Spawn("patient", func(c *discoro.Coro) (any, error) {
		_, err := c.ReceiveTimeout(time.Millisecond)
		if errors.Is(err, discoro.ErrTimeout) {
			return "nothing came", nil
		}
		return nil, err
	})
	fmt.Println(discoro.Result[string](context.Background(), patient))
	fmt.Println(rt.Close())
	// Output:
	// nothing came <nil>
	// <nil>
}

// How does a coroutine insist on a type, and what becomes of a message that is of another?
func ExampleReceiveAs() {
	rt, err := discoro.NewRuntime()
	if err != nil {
		fmt.Println(err)
		return
	}
	reader := rt.Spawn("reader", func(c *discoro.Coro) (any, error) {
		_, err := discoro.ReceiveAs[int](c)
		fmt.Println(errors.Is(err, discoro.ErrType))
		return c.Receive() // it is still the next one
	})
	if err := reader.Send("not a number"); err != nil {
		fmt.Println(err)
	}
	fmt.Println(discoro.Result[string](context.Background(), reader))
	fmt.Println(rt.Close())
	// Output:
	// true
	// not a number <nil>
	// <nil>
}

// How is the memory bounded that messages take which nobody has received yet?
func ExampleConfig_maxMailbox() {
	rt, err := discoro.NewRuntime(discoro.Config{MaxMailbox: 2})
	if err != nil {
		fmt.Println(err)
		return
	}
	const messages = 100
	slow := rt.Spawn("slow", func(c *discoro.Coro) (any, error) {
		for range messages {
			if err := c.Yield(); err != nil {
				return nil, err
			}
			if _, err := c.Receive(); err != nil {
				return nil, err
			}
		}
		_, most := c.Mailbox()
		return most, nil
	})
	for i := range messages {
		if err := slow.Deliver(context.Background(), i); err != nil { // waits for room
			fmt.Println(err)
		}
	}
	most, err := discoro.Result[int](context.Background(), slow)
	fmt.Println(most <= 2, err)
	fmt.Println(rt.Close())
	// Output:
	// true <nil>
	// <nil>
}

// counter hands out numbers, to whoever has its handle.
var counter = discoro.Register("example.counter", func(c *discoro.Coro, _ discoro.None) (discoro.None, error) {
	for n := 1; ; n++ {
		r, err := discoro.ReceiveAs[*discoro.Request](c)
		if err != nil {
			return discoro.None{}, err
		}
		if err := r.Reply(n); err != nil {
			return discoro.None{}, err
		}
	}
})

// Visit is an argument with a handle in it. A handle may be in any field, slice or map.
type Visit struct {
	Name string
	To   *discoro.Coro
}

var visit = discoro.Register("example.visit", func(c *discoro.Coro, v Visit) (string, error) {
	n, err := discoro.Ask[int](c, v.To, "a number, please")
	return fmt.Sprintf("%s has number %d", v.Name, n), err
})

// How do coroutines at different servers get to know each other?
func ExampleCoro() {
	in(2, func(ctx context.Context, _ *discoro.Runtime, comp *discoro.Computation) error {
		shared, err := comp.Run(ctx, counter.With(discoro.None{}))
		if err != nil {
			return err
		}
		for _, name := range []string{"Ann", "Bob"} {
			coro, err := comp.Run(ctx, visit.With(Visit{Name: name, To: shared}))
			if err != nil {
				return err
			}
			fmt.Println(discoro.Result[string](ctx, coro))
		}
		return nil
	})
	// Output:
	// Ann has number 1 <nil>
	// Bob has number 2 <nil>
}

// How does a coroutine do what blocks, without holding up the others?
func ExampleCoro_Blocking() {
	rt, err := discoro.NewRuntime()
	if err != nil {
		fmt.Println(err)
		return
	}
	pipe := make(chan string)
	reader := rt.Spawn("reader", func(c *discoro.Coro) (any, error) {
		var text string
		err := c.Blocking(func() error { text = <-pipe; return nil }) // or a file, a connection, a database
		return text, err
	})
	rt.Spawn("writer", func(*discoro.Coro) (any, error) { // has the turn while the reader blocks
		pipe <- "from another coroutine"
		return nil, nil
	})
	fmt.Println(discoro.Result[string](context.Background(), reader))
	fmt.Println(rt.Close())
	// Output:
	// from another coroutine <nil>
	// <nil>
}

// halves sums up with coroutines of its own, which run at the same server, one at a time.
var halves = discoro.Register("example.halves", func(c *discoro.Coro, numbers []int) (int, error) {
	var parts []*discoro.Coro
	for _, half := range [][]int{numbers[:len(numbers)/2], numbers[len(numbers)/2:]} {
		parts = append(parts, c.Spawn("half", func(*discoro.Coro) (any, error) {
			sum := 0
			for _, n := range half {
				sum += n
			}
			return sum, nil
		}))
	}
	total := 0
	for _, part := range parts {
		sum, err := discoro.Result[int](c, part)
		if err != nil {
			return 0, err
		}
		total += sum
	}
	return total, nil
})

// How does a function start coroutines of its own?
func ExampleCoro_Spawn() {
	in(1, func(ctx context.Context, _ *discoro.Runtime, comp *discoro.Computation) error {
		coro, err := comp.Run(ctx, halves.With([]int{1, 2, 3, 4}))
		if err != nil {
			return err
		}
		fmt.Println(discoro.Result[int](ctx, coro))
		return nil
	})
	// Output: 10 <nil>
}

// Shape is what messages are about; Square is one, of a type that has a name on the wire.
type (
	Shape  interface{ Area() float64 }
	Square struct{ Side float64 }
)

// Area implements Shape.
func (s Square) Area() float64 { return s.Side * s.Side }

func init() { discoro.RegisterType[Square]("example.square") }

var area = discoro.Register("example.area", func(c *discoro.Coro, _ discoro.None) (float64, error) {
	s, err := discoro.ReceiveAs[Shape](c) // whatever implements it
	if err != nil {
		return 0, err
	}
	return s.Area(), nil
})

// How does a value of a program's own type arrive as what it is?
func ExampleRegisterType() {
	in(1, func(ctx context.Context, _ *discoro.Runtime, comp *discoro.Computation) error {
		coro, err := comp.Run(ctx, area.With(discoro.None{}))
		if err != nil {
			return err
		}
		type secret struct{ N int } // has no name
		fmt.Println(errors.Is(coro.Send(secret{1}), discoro.ErrTypeNotRegistered))
		if err := coro.Send(Square{Side: 3}); err != nil {
			return err
		}
		fmt.Println(discoro.Result[float64](ctx, coro))
		return nil
	})
	// Output:
	// true
	// 9 <nil>
}

// How does a channel reach coroutines of other programs?
func ExampleRuntime_LocateChannel() {
	ctx := context.Background()
	here, err := discoro.NewRuntime()
	if err != nil {
		fmt.Println(err)
		return
	}
	there, err := discoro.NewRuntime() // in this program too, but reached over a link
	if err != nil {
		fmt.Println(err, here.Close())
		return
	}
	news, err := there.NewChannel("news")
	if err == nil {
		err = news.Register("the news")
	}
	if err == nil {
		reader := here.Spawn("reader", func(c *discoro.Coro) (any, error) {
			channel, err := here.LocateChannel(c, "the news", there.Location())
			if err == nil {
				err = channel.Subscribe(c, c)
			}
			if err != nil {
				return nil, err
			}
			return c.Receive()
		})
		fmt.Println(news.Deliver(ctx, "it rains", 1)) // when one has subscribed
		fmt.Println(discoro.Result[string](ctx, reader))
	}
	fmt.Println(errors.Join(err, here.Close(), there.Close()))
	// Output:
	// 1 <nil>
	// it rains <nil>
	// <nil>
}

// Who can connect to a program that has a secret?
func ExampleConfig_secret() {
	ctx := context.Background()
	guarded, err := discoro.NewRuntime(discoro.Config{Addr: "127.0.0.1", Secret: "sixteen characters, or more"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, secret := range []string{"sixteen characters, or more", ""} {
		rt, err := discoro.NewRuntime(discoro.Config{
			Addr: "127.0.0.1", Secret: secret,
			MsgTimeout: time.Minute, // a secret's key takes a moment, and a slow machine many
		})
		if err != nil {
			fmt.Println(err)
			continue
		}
		_, err = rt.Connect(ctx, guarded.Location().String())
		fmt.Println(err == nil, errors.Is(err, discoro.ErrUnauthorized))
		if err := rt.Close(); err != nil {
			fmt.Println(err)
		}
	}
	fmt.Println(guarded.Close())
	// Output:
	// true false
	// false true
	// <nil>
}
