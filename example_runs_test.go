package discoro_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/discoro/discoro"
)

// progressArg says what to do, and whom to tell how far that is.
type progressArg struct {
	Steps int
	Tell  *discoro.Coro
}

// Progress is a message: its type has a name, so that it arrives as what it is.
type Progress struct{ Done, Of int }

func init() { discoro.RegisterType[Progress]("example.progress") }

var longRun = discoro.Register("example.long", func(_ *discoro.Coro, arg progressArg) (int, error) {
	sum := 0
	for step := range arg.Steps {
		sum += step
		if err := arg.Tell.Send(Progress{step + 1, arg.Steps}); err != nil {
			return 0, err
		}
	}
	return sum, nil
})

// How does a run report its progress?
func ExampleComputation_Run_progress() {
	in(1, func(ctx context.Context, rt *discoro.Runtime, comp *discoro.Computation) error {
		client := rt.Spawn("client", func(c *discoro.Coro) (any, error) {
			run, err := comp.Run(c, longRun.With(progressArg{Steps: 3, Tell: c}))
			if err != nil {
				return nil, err
			}
			for range 3 {
				p, err := discoro.ReceiveAs[Progress](c)
				if err != nil {
					return nil, err
				}
				fmt.Println(p.Done, "of", p.Of)
			}
			return discoro.Result[int](c, run)
		})
		sum, err := discoro.Result[int](ctx, client)
		fmt.Println("sum", sum)
		return err
	})
	// Output:
	// 1 of 3
	// 2 of 3
	// 3 of 3
	// sum 3
}

// forever runs until it is told to stop.
var forever = discoro.Register("example.forever", func(c *discoro.Coro, tell *discoro.Coro) (discoro.None, error) {
	defer func() { _ = tell.Send("cleaned up") }() // deferred functions run when it is terminated
	if err := tell.Send("at work"); err != nil {
		return discoro.None{}, err
	}
	for {
		if err := c.Sleep(time.Hour); err != nil {
			return discoro.None{}, err // every yield point returns ErrTerminated from then on
		}
	}
})

// How is a run stopped?
func ExampleCoro_Terminate() {
	in(1, func(ctx context.Context, rt *discoro.Runtime, comp *discoro.Computation) error {
		client := rt.Spawn("client", func(c *discoro.Coro) (any, error) {
			run, err := comp.Run(c, forever.With(c))
			if err != nil {
				return nil, err
			}
			if _, err := c.Receive(); err != nil { // one that has not begun has nothing to clean up
				return nil, err
			}
			if err := run.Terminate(); err != nil {
				return nil, err
			}
			fmt.Println(errors.Is(run.Wait(c), discoro.ErrTerminated))
			return c.Receive()
		})
		fmt.Println(discoro.Result[string](ctx, client))
		return nil
	})
	// Output:
	// true
	// cleaned up <nil>
}

// How does a client give up on a function that takes too long?
func ExampleExecute() {
	in(1, func(ctx context.Context, rt *discoro.Runtime, comp *discoro.Computation) error {
		rcs, err := discoro.NewRemoteCoroScheduler(comp)
		if err != nil {
			return err
		}
		text, err := discoro.Execute(ctx, rcs, greet.With("you"))
		fmt.Println(text, err)

		drain := rt.Spawn("drain", func(c *discoro.Coro) (any, error) { return c.Receive() })
		soon, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		defer cancel()
		_, err = discoro.Execute(soon, rcs, forever.With(drain)) // terminates it when soon ends
		fmt.Println(errors.Is(err, context.DeadlineExceeded))
		return rcs.Finish(ctx, true)
	})
	// Output:
	// hello you <nil>
	// true
}

var errBusy = errors.New("busy")

func init() { discoro.RegisterError("example.busy", errBusy) }

// moody works at the third attempt.
var moody = discoro.Register("example.moody", func(_ *discoro.Coro, attempt int) (string, error) {
	if attempt < 3 {
		return "", fmt.Errorf("attempt %d: %w", attempt, errBusy)
	}
	return "at last", nil
})

// How is something tried again that has failed? RCSConfig.Retries does so where servers are lost, and nowhere else.
func ExampleExecute_again() {
	in(1, func(ctx context.Context, _ *discoro.Runtime, comp *discoro.Computation) error {
		rcs, err := discoro.NewRemoteCoroScheduler(comp)
		if err != nil {
			return err
		}
		for attempt := 1; attempt <= 5; attempt++ {
			text, err := discoro.Execute(ctx, rcs, moody.With(attempt))
			fmt.Println(text, errors.Is(err, errBusy))
			if !errors.Is(err, errBusy) { // another error would come again
				break
			}
		}
		return rcs.Finish(ctx, true)
	})
	// Output:
	//  true
	//  true
	// at last false
}

// How is a coroutine started again whenever it breaks?
func ExampleCoro_Monitor_restart() {
	in(1, func(ctx context.Context, rt *discoro.Runtime, comp *discoro.Computation) error {
		keeper := rt.Spawn("keeper", func(c *discoro.Coro) (any, error) {
			for numbers := []int(nil); ; numbers = append(numbers, 7) { // the first one panics
				run, err := comp.Run(c, first.With(numbers))
				if err == nil {
					err = run.Monitor(c, c)
				}
				if err != nil {
					return nil, err
				}
				exit, err := discoro.ReceiveAs[discoro.Exit](c) // whatever becomes of it, or of its server
				if err != nil {
					return nil, err
				}
				if exit.Err == nil {
					return discoro.ExitResult[int](exit)
				}
				fmt.Println("again")
			}
		})
		fmt.Println(discoro.Result[int](ctx, keeper))
		return nil
	})
	// Output:
	// again
	// 7 <nil>
}

// careful tells the client where it runs, and goes on when it is told to.
var careful = discoro.Register("example.careful", func(c *discoro.Coro, client *discoro.Coro) (string, error) {
	if err := client.Send(c); err != nil {
		return "", err
	}
	return discoro.ReceiveAs[string](c)
})

// How does work survive the loss of a server?
func ExampleRCSConfig_retries() {
	on(1, func(ctx context.Context, sched *discoro.Scheduler, node *discoro.Node) (err error) {
		doomed, err := discoro.NewServer(discoro.ServerConfig{Node: node.Location().String()}) // one more, beside the node's
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, doomed.Close()) }() // if it has not met its fate
		comp, err := discoro.NewComputation(sched.Runtime)
		if err != nil {
			return err
		}
		rcs, err := discoro.NewRemoteCoroScheduler(comp, discoro.RCSConfig{Retries: 1})
		if err != nil {
			return err
		}
		if err := comp.WaitServers(ctx, 2); err != nil {
			return err
		}
		client := sched.Spawn("client", func(c *discoro.Coro) (any, error) {
			for range 3 { // both start, and one starts again elsewhere
				run, err := discoro.ReceiveAs[*discoro.Coro](c)
				switch {
				case err != nil:
					return nil, err
				case run.Location() == doomed.Location():
					err = c.Blocking(doomed.Close)
				default:
					err = run.Send("done")
				}
				if err != nil {
					return nil, err
				}
			}
			return nil, nil
		})
		fmt.Println(discoro.MapResults(ctx, rcs, careful, slices.Values([]*discoro.Coro{client, client})))
		return rcs.Finish(ctx, true)
	})
	// Output: [done done] <nil>
}

// How does something run once at every node, or at every server?
func ExampleComputation_RunEach() {
	in(3, func(ctx context.Context, _ *discoro.Runtime, comp *discoro.Computation) error {
		for _, where := range []discoro.Each{discoro.EachNode, discoro.EachServer} {
			coros, err := comp.RunEach(ctx, where, greet.With("all"))
			if err != nil {
				return err
			}
			for _, coro := range coros {
				text, err := discoro.Result[string](ctx, coro)
				if err != nil {
					return err
				}
				fmt.Print(text, ";")
			}
			fmt.Println()
		}
		return nil
	})
	// Output:
	// hello all;
	// hello all;hello all;hello all;
}

// How does a program choose where a function runs?
func ExampleComputation_RunAt() {
	in(2, func(ctx context.Context, _ *discoro.Runtime, comp *discoro.Computation) error {
		servers, err := comp.Servers(ctx)
		if err != nil {
			return err
		}
		coro, err := comp.RunAt(ctx, servers[1], greet.With("server"))
		if err != nil {
			return err
		}
		fmt.Println(coro.Location() == servers[1])

		nodes, err := comp.Nodes(ctx)
		if err != nil {
			return err
		}
		coro, err = comp.RunAt(ctx, discoro.NodeAddr(nodes[0]), greet.With("node")) // its least loaded server
		if err != nil {
			return err
		}
		fmt.Println(discoro.Result[string](ctx, coro))
		return nil
	})
	// Output:
	// true
	// hello node <nil>
}

// How do several clients share the nodes?
func ExampleComputation_Schedule() {
	in(1, func(ctx context.Context, rt *discoro.Runtime, first *discoro.Computation) error {
		second, err := discoro.NewComputation(rt)
		if err != nil {
			return err
		}
		waiting := rt.Spawn("second client", func(c *discoro.Coro) (any, error) {
			if err := second.Schedule(c); err != nil { // blocks until the first is closed
				return nil, err
			}
			fmt.Println("the second has the servers")
			return nil, second.Close(c)
		})
		coro, err := first.Run(ctx, greet.With("first"))
		if err != nil {
			return err
		}
		fmt.Println(discoro.Result[string](ctx, coro))
		fmt.Println("the first closes")
		return errors.Join(first.Close(ctx), waiting.Wait(ctx))
	})
	// Output:
	// hello first <nil>
	// the first closes
	// the second has the servers
}

// How does a program choose which nodes it uses?
func ExampleNodeFilter() {
	on(2, func(ctx context.Context, sched *discoro.Scheduler, _ *discoro.Node) error {
		ignored := sched.Spawn("status", func(c *discoro.Coro) (any, error) {
			for {
				msg, err := c.Receive()
				if s, ok := msg.(discoro.Status); err != nil || ok && s.Kind == discoro.NodeIgnore {
					return s.Kind, err // s.Reason tells why
				}
			}
		})
		comp, err := discoro.NewComputation(sched.Runtime, discoro.ComputationConfig{
			Status:      ignored,
			NodeFilters: []discoro.NodeFilter{{Platform: "linux|darwin|windows", CPUs: 2, Memory: 1 << 50}}, // bytes available
		})
		if err != nil {
			return err
		}
		if err := comp.Schedule(ctx); err != nil {
			return err
		}
		fmt.Println(discoro.Result[discoro.StatusKind](ctx, ignored))
		nodes, err := comp.Nodes(ctx)
		fmt.Println(len(nodes), "nodes")
		return errors.Join(err, comp.Close(ctx))
	})
	// Output:
	// NodeIgnore <nil>
	// 0 nodes
}

// How does a program schedule by itself, from statuses?
func ExampleStatus() {
	on(2, func(ctx context.Context, sched *discoro.Scheduler, _ *discoro.Node) error {
		jobs := []int{4, 9, 16, 25}
		own := sched.Spawn("own scheduler", func(c *discoro.Coro) (any, error) {
			comp, err := discoro.NewComputation(c.Runtime(), discoro.ComputationConfig{Status: c})
			if err == nil {
				err = comp.Schedule(c)
			}
			if err != nil {
				return nil, err
			}
			sum, next := 0, jobs
			for ended := 0; ended < len(jobs); {
				msg, err := c.Receive()
				if err != nil {
					return nil, err
				}
				var free discoro.Location
				switch m := msg.(type) {
				case discoro.Status:
					if m.Kind == discoro.ServerInitialized {
						free = m.Server
					}
				case discoro.Exit:
					n, err := discoro.ExitResult[int](m)
					if err != nil {
						return nil, err
					}
					sum += n
					ended++
					free = m.Coro.Location()
				}
				if !free.IsZero() && len(next) > 0 {
					if _, err := comp.RunAt(c, free, root.With(next[0])); err != nil {
						return nil, err
					}
					next = next[1:]
				}
			}
			return sum, comp.Close(c)
		})
		fmt.Println(discoro.Result[int](ctx, own))
		return nil
	})
	// Output: 14 <nil>
}

// How does a client see that a function panicked?
func ExamplePanicError() {
	in(1, func(ctx context.Context, _ *discoro.Runtime, comp *discoro.Computation) error {
		coro, err := comp.Run(ctx, first.With(nil))
		if err != nil {
			return err
		}
		var p *discoro.PanicError
		if errors.As(coro.Wait(ctx), &p) {
			fmt.Println(p.Value, p.Stack != "")
		}
		coro, err = comp.Run(ctx, first.With([]int{7})) // the server goes on
		if err != nil {
			return err
		}
		fmt.Println(discoro.Result[int](ctx, coro))
		return nil
	})
	// Output:
	// runtime error: index out of range [0] with length 0 true
	// 7 <nil>
}

var first = discoro.Register("example.first", func(_ *discoro.Coro, numbers []int) (int, error) { return numbers[0], nil })

// How are servers set up before they are used, and cleaned up afterwards?
func ExampleRCSConfig() {
	on(2, func(ctx context.Context, sched *discoro.Scheduler, _ *discoro.Node) error {
		comp, err := discoro.NewComputation(sched.Runtime)
		if err != nil {
			return err
		}
		cleaned := false
		rcs, err := discoro.NewRemoteCoroScheduler(comp, discoro.RCSConfig{
			ProcAvailable: func(c *discoro.Coro, server discoro.Location) error {
				coro, err := comp.RunAt(c, server, setLexicon.With(map[string]string{"one": "eins", "two": "zwei"}))
				if err != nil {
					return err
				}
				return coro.Wait(c)
			},
			ProcClose: func(_ *discoro.Coro, kind discoro.StatusKind, _ discoro.Location) {
				if kind == discoro.ServerInitialized { // it can still be used
					cleaned = true // hooks are coroutines of one runtime: no lock
				}
			},
		})
		if err != nil {
			return err
		}
		fmt.Println(discoro.MapResults(ctx, rcs, translate, slices.Values([]string{"one", "two"})))
		err = rcs.Finish(ctx, true)
		fmt.Println("cleaned up:", cleaned)
		return err
	})
	// Output:
	// [eins zwei] <nil>
	// cleaned up: true
}

var lexicon discoro.Var[map[string]string]

var setLexicon = discoro.Register("example.set", func(c *discoro.Coro, words map[string]string) (discoro.None, error) {
	lexicon.Set(c, words)
	return discoro.None{}, nil
})

var translate = discoro.Register("example.translate", func(c *discoro.Coro, word string) (string, error) {
	words, _ := lexicon.Get(c)
	return words[word], nil
})

// How does a node leave without harm to what it runs?
func ExampleNode_Drain() {
	on(1, func(ctx context.Context, sched *discoro.Scheduler, node *discoro.Node) error {
		comp, err := discoro.NewComputation(sched.Runtime)
		if err != nil {
			return err
		}
		if err := comp.Schedule(ctx); err != nil {
			return err
		}
		client := sched.Spawn("client", func(c *discoro.Coro) (any, error) { return c.Receive() })
		run, err := comp.Run(ctx, careful.With(client))
		if err != nil {
			return err
		}
		if err := client.Wait(ctx); err != nil { // it has started
			return err
		}
		drained := make(chan error, 1)
		go func() { drained <- node.Drain(ctx) }()
		if err := run.Send("done"); err != nil {
			return err
		}
		fmt.Println(discoro.Result[string](ctx, run))
		fmt.Println(<-drained)
		return comp.Close(ctx)
	})
	// Output:
	// done <nil>
	// <nil>
}
