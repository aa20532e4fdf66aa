package discoro_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/discoro/discoro"
)

// Page is what a server gets at once.
type Page struct{ Path, Text string }

// words counts the words of a page. Every program that is built with this file can run it.
var words = discoro.Register("words", func(_ *discoro.Coro, p Page) (int, error) {
	return len(strings.Fields(p.Text)), nil
})

// countWords counts the words of each page, a page a server at a time.
func countWords(ctx context.Context, pages []Page) (counts []int, err error) {
	sched, err := discoro.NewScheduler() // a private one, in this program
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, sched.Close()) }()
	node, err := discoro.NewNode(discoro.NodeConfig{ // its servers do the work, one a CPU
		Config: discoro.Config{Peers: []string{sched.Location().String()}},
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, node.Close()) }()

	comp, err := discoro.NewComputation(sched.Runtime)
	if err != nil {
		return nil, err
	}
	rcs, err := discoro.NewRemoteCoroScheduler(comp)
	if err != nil {
		return nil, err
	}
	counts, err = discoro.MapResults(ctx, rcs, words, slices.Values(pages))
	return counts, errors.Join(err, rcs.Finish(ctx, true))
}

// What is the shortest program that has servers do its work?
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	counts, err := countWords(ctx, []Page{
		{"a.txt", "to be or not to be"},
		{"b.txt", "that is the question"},
	})
	fmt.Println(counts, err)
	// Output: [6 4] <nil>
}

// on gives an example a private scheduler and a node with so many servers, and closes both. It prints the error with which
// the example ended, if any.
func on(servers int, example func(ctx context.Context, sched *discoro.Scheduler, node *discoro.Node) error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := onCluster(ctx, servers, example); err != nil {
		fmt.Println("error:", err)
	}
}

func onCluster(ctx context.Context, servers int, example func(context.Context, *discoro.Scheduler, *discoro.Node) error) (err error) {
	sched, err := discoro.NewScheduler()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sched.Close()) }()
	node, err := discoro.NewNode(discoro.NodeConfig{
		Config:  discoro.Config{Peers: []string{sched.Location().String()}},
		Servers: servers,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, node.Close()) }()
	return example(ctx, sched, node)
}

// in gives an example the scheduler's runtime and a computation that has the servers, and closes that too.
func in(servers int, example func(ctx context.Context, rt *discoro.Runtime, comp *discoro.Computation) error) {
	on(servers, func(ctx context.Context, sched *discoro.Scheduler, _ *discoro.Node) error {
		comp, err := discoro.NewComputation(sched.Runtime)
		if err != nil {
			return err
		}
		if err := comp.Schedule(ctx); err != nil {
			return err
		}
		if err := comp.WaitServers(ctx, servers); err != nil {
			return err
		}
		return errors.Join(example(ctx, sched.Runtime, comp), comp.Close(ctx))
	})
}

var errNobody = errors.New("nobody is there")

func init() { discoro.RegisterError("example.nobody", errNobody) }

var greet = discoro.Register("example.greet", func(_ *discoro.Coro, name string) (string, error) {
	if name == "" {
		return "", fmt.Errorf("cannot greet: %w", errNobody)
	}
	return "hello " + name, nil
})

// How does a function run at a server, and its result come back?
func ExampleComputation_Run() {
	in(1, func(ctx context.Context, _ *discoro.Runtime, comp *discoro.Computation) error {
		coro, err := comp.Run(ctx, greet.With("world")) // returns when it has started
		if err != nil {
			return err
		}
		text, err := discoro.Result[string](ctx, coro) // returns when it has ended
		fmt.Println(text)
		return err
	})
	// Output: hello world
}

// How does a program run a function that it was not built with?
func ExampleNamed() {
	in(1, func(ctx context.Context, _ *discoro.Runtime, comp *discoro.Computation) error {
		coro, err := comp.Run(ctx, discoro.Named("example.greet", "stranger"))
		if err != nil {
			return err
		}
		fmt.Println(discoro.Result[any](ctx, coro))

		_, err = comp.Run(ctx, discoro.Named("example.gret", "stranger"))
		fmt.Println(errors.Is(err, discoro.ErrNotRegistered))
		return nil
	})
	// Output:
	// hello stranger <nil>
	// true
}

// How does a client recognise the error of a function that ran elsewhere?
func ExampleRegisterError() {
	in(1, func(ctx context.Context, _ *discoro.Runtime, comp *discoro.Computation) error {
		coro, err := comp.Run(ctx, greet.With(""))
		if err != nil {
			return err
		}
		err = coro.Wait(ctx)
		var remote *discoro.RemoteError
		fmt.Println(errors.Is(err, errNobody))
		fmt.Println(errors.As(err, &remote) && remote.Location == coro.Location(), remote.Func, remote.Msg)
		return nil
	})
	// Output:
	// true
	// true example.greet cannot greet: nobody is there
}

var root = discoro.Register("example.root", func(_ *discoro.Coro, n int) (int, error) {
	for r := range n + 1 {
		if r*r == n {
			return r, nil
		}
	}
	return 0, fmt.Errorf("%d is no square", n)
})

// What comes back when some of many items fail?
func ExampleMapResults() {
	in(2, func(ctx context.Context, _ *discoro.Runtime, comp *discoro.Computation) error {
		rcs, err := discoro.NewRemoteCoroScheduler(comp)
		if err != nil {
			return err
		}
		roots, err := discoro.MapResults(ctx, rcs, root, slices.Values([]int{4, 5, 9, 16}))
		var remote *discoro.RemoteError
		fmt.Println(roots) // the order of the arguments
		fmt.Println(errors.As(err, &remote), remote.Msg)
		return rcs.Finish(ctx, true)
	})
	// Output:
	// [2 0 3 4]
	// true 5 is no square
}

// How is each result handled as soon as it is there?
func ExampleAsCompleted() {
	in(2, func(ctx context.Context, _ *discoro.Runtime, comp *discoro.Computation) error {
		rcs, err := discoro.NewRemoteCoroScheduler(comp)
		if err != nil {
			return err
		}
		squares := []int{4, 9, 16}
		for out := range discoro.AsCompleted(ctx, rcs, root, slices.Values(squares)) {
			if out.Err != nil {
				return out.Err
			}
			fmt.Println("the root of", squares[out.Index], "is", out.Value)
		}
		return rcs.Finish(ctx, true)
	})
	// Unordered output:
	// the root of 4 is 2
	// the root of 9 is 3
	// the root of 16 is 4
}

// stageArg is what a stage of a pipeline needs. A handle travels like any other field.
type stageArg struct {
	Mark string
	Next *discoro.Coro
}

// stage passes on what it gets, marked, until that is empty; its result is how many it has passed on.
var stage = discoro.Register("example.stage", func(c *discoro.Coro, arg stageArg) (int, error) {
	for count := 0; ; count++ {
		text, err := discoro.ReceiveAs[string](c)
		if err != nil || text == "" {
			return count, err
		}
		if err := arg.Next.Send(text + arg.Mark); err != nil {
			return count, err
		}
	}
})

// How do coroutines at different servers pass messages on to each other?
func ExampleCoro_Send() {
	in(2, func(ctx context.Context, rt *discoro.Runtime, comp *discoro.Computation) error {
		client := rt.Spawn("client", func(c *discoro.Coro) (any, error) {
			second, err := comp.Run(c, stage.With(stageArg{Mark: "-second", Next: c}))
			if err != nil {
				return nil, err
			}
			first, err := comp.Run(c, stage.With(stageArg{Mark: "-first", Next: second}))
			if err != nil {
				return nil, err
			}
			for _, text := range []string{"one", "two"} {
				if err := first.Send(text); err != nil {
					return nil, err
				}
			}
			for range 2 { // they come in the order in which they were sent
				text, err := discoro.ReceiveAs[string](c)
				if err != nil {
					return nil, err
				}
				fmt.Println(text)
			}
			if err := errors.Join(first.Send(""), second.Send("")); err != nil {
				return nil, err
			}
			return discoro.Result[int](c, first)
		})
		count, err := discoro.Result[int](ctx, client)
		fmt.Println(count, "passed on")
		return err
	})
	// Output:
	// one-first-second
	// two-first-second
	// 2 passed on
}

// How does a coroutine answer a question?
func ExampleAsk() {
	rt, err := discoro.NewRuntime()
	if err != nil {
		fmt.Println(err)
		return
	}
	counter := rt.Spawn("counter", func(c *discoro.Coro) (any, error) {
		for sum := 0; ; {
			r, err := discoro.ReceiveAs[*discoro.Request](c)
			if err != nil {
				return nil, err // ErrTerminated, when the runtime closes
			}
			var answer any = fmt.Errorf("cannot add a %T", r.Msg)
			if n, ok := r.Msg.(int); ok {
				sum += n
				answer = sum
			}
			if err := r.Reply(answer); err != nil { // an error value is Ask's error
				return nil, err
			}
		}
	})
	for _, msg := range []any{40, 2, "more"} {
		sum, err := discoro.Ask[int](context.Background(), counter, msg)
		fmt.Println(sum, err != nil)
	}
	fmt.Println(rt.Close())
	// Output:
	// 40 false
	// 42 false
	// 0 true
	// <nil>
}

// How does a coroutine learn that another one has ended, and how?
func ExampleCoro_Monitor() {
	in(1, func(ctx context.Context, rt *discoro.Runtime, comp *discoro.Computation) error {
		watcher := rt.Spawn("watcher", func(c *discoro.Coro) (any, error) {
			for _, n := range []int{9, 10} {
				coro, err := comp.Run(c, root.With(n))
				if err != nil {
					return nil, err
				}
				if err := coro.Monitor(c, c); err != nil {
					return nil, err
				}
				exit, err := discoro.ReceiveAs[discoro.Exit](c)
				if err != nil {
					return nil, err
				}
				r, err := discoro.ExitResult[int](exit)
				fmt.Println(exit.Coro == coro, r, err != nil)
			}
			return nil, nil
		})
		return watcher.Wait(ctx)
	})
	// Output:
	// true 3 false
	// true 0 true
}

// served counts what a server has done for the computation.
var served discoro.Var[int]

var serve = discoro.Register("example.serve", func(c *discoro.Coro, _ discoro.None) (int, error) {
	n, _ := served.Get(c)
	served.Set(c, n+1) // no lock: only the coroutine that has the turn runs
	return n + 1, nil
})

// How do coroutines of one server share a value?
func ExampleVar() {
	in(2, func(ctx context.Context, _ *discoro.Runtime, comp *discoro.Computation) error {
		for range 3 {
			coros, err := comp.RunServers(ctx, serve.With(discoro.None{}))
			if err != nil {
				return err
			}
			for _, coro := range coros {
				n, err := discoro.Result[int](ctx, coro)
				if err != nil {
					return err
				}
				fmt.Print(n, " ")
			}
		}
		fmt.Println()
		return nil
	})
	// Output: 1 1 2 2 3 3
}

// How is a coroutine found that another program has started?
func ExampleRuntime_Locate() {
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
	echo := there.Spawn("echo", func(c *discoro.Coro) (any, error) {
		r, err := discoro.ReceiveAs[*discoro.Request](c)
		if err != nil {
			return nil, err
		}
		return nil, r.Reply(r.Msg)
	})
	err = echo.Register("the echo")
	if err == nil {
		var found *discoro.Coro
		if found, err = here.Locate(ctx, "the echo", there.Location()); err == nil {
			fmt.Println(found.Name(), found.Location() == there.Location())
			fmt.Println(discoro.Ask[string](ctx, found, "this"))
		}
	}
	fmt.Println(errors.Join(err, here.Close(), there.Close()))
	// Output:
	// echo true
	// this <nil>
	// <nil>
}

// How does one message reach many coroutines?
func ExampleChannel() {
	ctx := context.Background()
	rt, err := discoro.NewRuntime()
	if err != nil {
		fmt.Println(err)
		return
	}
	news, err := rt.NewChannel("news")
	if err != nil {
		fmt.Println(err, rt.Close())
		return
	}
	var readers []*discoro.Coro
	for i := range 3 {
		reader := rt.Spawn("reader", func(c *discoro.Coro) (any, error) {
			if err := news.Subscribe(c, c); err != nil {
				return nil, err
			}
			text, err := discoro.ReceiveAs[string](c)
			return fmt.Sprintf("reader %d: %s", i, text), err
		})
		readers = append(readers, reader)
	}
	fmt.Println(news.Deliver(ctx, "it rains", 3)) // when three have subscribed
	for _, reader := range readers {
		fmt.Println(discoro.Result[string](ctx, reader))
	}
	fmt.Println(errors.Join(news.Close(), rt.Close()))
	// Output:
	// 3 <nil>
	// reader 0: it rains <nil>
	// reader 1: it rains <nil>
	// reader 2: it rains <nil>
	// <nil>
}
