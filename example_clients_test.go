package discoro_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/discoro/discoro"
)

// How does a client use a scheduler that runs in another program?
func ExampleComputation_Schedule_elsewhere() {
	on(1, func(ctx context.Context, sched *discoro.Scheduler, _ *discoro.Node) (err error) {
		client, err := discoro.NewRuntime() // knows nobody yet
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, client.Close()) }()
		comp, err := discoro.NewComputation(client, discoro.ComputationConfig{Functions: []string{greet.Name()}})
		if err != nil {
			return err
		}
		at, err := discoro.ParseLocation(sched.Location().String()) // from a flag, say
		if err != nil {
			return err
		}
		if err := comp.Schedule(ctx, at); err != nil { // blocks while others have the servers
			return err
		}
		coro, err := comp.Run(ctx, greet.With("scheduler"))
		if err != nil {
			return err
		}
		fmt.Println(discoro.Result[string](ctx, coro))
		return comp.Close(ctx)
	})
	// Output: hello scheduler <nil>
}

// What does a client see of a server that is lost?
func ExampleServerLostError() {
	on(1, func(ctx context.Context, sched *discoro.Scheduler, _ *discoro.Node) error {
		comp, err := discoro.NewComputation(sched.Runtime)
		if err == nil {
			err = comp.Schedule(ctx)
		}
		if err != nil {
			return err
		}
		drain := sched.Spawn("drain", func(c *discoro.Coro) (any, error) { return c.Receive() })
		run, err := comp.Run(ctx, forever.With(drain))
		if err != nil {
			return err
		}
		if err := sched.Disconnect(run.Location()); err != nil { // as if the server were gone
			return err
		}
		var lost *discoro.ServerLostError
		if errors.As(run.Wait(ctx), &lost) {
			fmt.Println(lost.Func, "was lost with its server:", lost.Server == run.Location())
		}
		run, err = comp.Run(ctx, greet.With("again")) // the node has started another server
		if err != nil {
			return err
		}
		fmt.Println(discoro.Result[string](ctx, run))
		return comp.Close(ctx)
	})
	// Output:
	// example.forever was lost with its server: true
	// hello again <nil>
}

// subtask is what a run asks the client to run for it.
type subtask struct {
	N      int
	Client *discoro.Coro
}

// factorial has the client run the smaller factorial, at whichever server has the least to do.
var factorial discoro.Func[subtask, int]

func init() { // it refers to itself
	factorial = discoro.Register("example.factorial", func(c *discoro.Coro, t subtask) (int, error) {
		if t.N < 2 {
			return 1, nil
		}
		smaller, err := discoro.Ask[*discoro.Coro](c, t.Client, t.N-1)
		if err != nil {
			return 0, err
		}
		n, err := discoro.Result[int](c, smaller) // without the turn: other runs go on at this server
		return t.N * n, err
	})
}

// How does a function that runs at a server start more runs?
func ExampleComputation_Run_nested() {
	in(2, func(ctx context.Context, rt *discoro.Runtime, comp *discoro.Computation) error {
		client := rt.Spawn("client", func(c *discoro.Coro) (any, error) {
			for {
				r, err := discoro.ReceiveAs[*discoro.Request](c)
				if err != nil {
					return nil, err
				}
				var answer any = fmt.Errorf("not a number: %v", r.Msg)
				if n, ok := r.Msg.(int); ok {
					run, err := comp.Run(c, factorial.With(subtask{n, c}))
					if answer = run; err != nil {
						answer = err
					}
				}
				if err := r.Reply(answer); err != nil {
					return nil, err
				}
			}
		})
		run, err := discoro.Ask[*discoro.Coro](ctx, client, 10)
		if err != nil {
			return err
		}
		fmt.Println(discoro.Result[int](ctx, run))
		return nil
	})
	// Output: 3628800 <nil>
}

// How does a search end with the first item that is found, of any number of items?
func ExampleAsCompleted_first() {
	in(1, func(ctx context.Context, _ *discoro.Runtime, comp *discoro.Computation) error {
		rcs, err := discoro.NewRemoteCoroScheduler(comp)
		if err != nil {
			return err
		}
		var numbers iter.Seq[int] = func(yield func(int) bool) { // without an end: it is read only as servers come free
			for n := 1000; yield(n); n++ {
				continue
			}
		}
		for out := range discoro.AsCompleted(ctx, rcs, root, numbers) {
			if out.Err == nil { // else it is no square
				fmt.Println("the root of", 1000+out.Index, "is", out.Value)
				break // terminates what still runs
			}
		}
		return rcs.Finish(ctx, true)
	})
	// Output: the root of 1024 is 32
}

// processID tells which process runs it.
var processID = discoro.Register("example.pid", func(*discoro.Coro, discoro.None) (int, error) { return os.Getpid(), nil })

// How does each server get a process of its own, and so a CPU?
func ExampleNodeConfig_processes() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := func() (err error) {
		sched, err := discoro.NewScheduler()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, sched.Close()) }()
		node, err := discoro.NewNode(discoro.NodeConfig{
			Config:    discoro.Config{Peers: []string{sched.Location().String()}},
			Servers:   2,
			Processes: true, // this program, executed anew: its main, or TestMain, calls discoro.Init first
		})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, node.Close()) }()
		comp, err := discoro.NewComputation(sched.Runtime)
		if err == nil {
			err = errors.Join(comp.Schedule(ctx), comp.WaitServers(ctx, 2))
		}
		if err != nil {
			return err
		}
		coros, err := comp.RunServers(ctx, processID.With(discoro.None{}))
		if err != nil {
			return err
		}
		processes := map[int]bool{os.Getpid(): true}
		for _, coro := range coros {
			pid, err := discoro.Result[int](ctx, coro)
			if err != nil {
				return err
			}
			processes[pid] = true
		}
		fmt.Println(len(processes), "processes, with this one")
		return comp.Close(ctx)
	}()
	if err != nil {
		fmt.Println("error:", err)
	}
	// Output: 3 processes, with this one
}

// What becomes of a computation when there is nobody to do the work?
func ExampleComputation_WaitServers() {
	sched, err := discoro.NewScheduler() // and no node
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	comp, err := discoro.NewComputation(sched.Runtime)
	if err == nil {
		err = comp.Schedule(ctx)
	}
	if err == nil {
		err = comp.WaitServers(ctx, 1) // Run waits likewise; both log why after two seconds, and then again
	}
	fmt.Println(errors.Is(err, discoro.ErrNoServer), errors.Is(err, context.DeadlineExceeded)) // err tells what is known of every node
	fmt.Println(sched.Close())
	// Output:
	// true true
	// <nil>
}

// How does a client follow what becomes of its nodes, servers and runs?
func ExampleComputationConfig_status() {
	on(1, func(ctx context.Context, sched *discoro.Scheduler, _ *discoro.Node) error {
		status := sched.Spawn("status", func(c *discoro.Coro) (any, error) {
			for {
				msg, err := c.Receive()
				if err != nil {
					return nil, err
				}
				switch m := msg.(type) {
				case discoro.Status: // with the node, the server or the coroutine, and the reason where there is one
					fmt.Println(m.Kind)
					if m.Kind == discoro.ComputationClosed {
						return nil, nil
					}
				case discoro.Exit:
					fmt.Println("Exit:", m.Err)
				case discoro.NodeAvail: // at first, and then at every pulse: what the node has to spare
				}
			}
		})
		comp, err := discoro.NewComputation(sched.Runtime, discoro.ComputationConfig{Status: status})
		if err == nil {
			err = comp.Schedule(ctx)
		}
		if err != nil {
			return err
		}
		run, err := comp.Run(ctx, greet.With("status"))
		if err != nil {
			return err
		}
		return errors.Join(run.Wait(ctx), comp.Close(ctx), status.Wait(ctx))
	})
	// Output:
	// ComputationScheduled
	// NodeDiscovered
	// ServerDiscovered
	// NodeInitialized
	// ServerInitialized
	// CoroCreated
	// Exit: <nil>
	// ServerClosed
	// NodeClosed
	// ComputationClosed
}

// busy counts the coroutines of a server that poll at the moment.
var busy discoro.Var[int]

// poll waits for something, and returns how many did so when it began.
var poll = discoro.Register("example.poll", func(c *discoro.Coro, _ discoro.None) (int, error) {
	n, _ := busy.Get(c)
	busy.Set(c, n+1)
	err := c.Sleep(time.Millisecond) // without the turn, as whatever waits
	m, _ := busy.Get(c)
	busy.Set(c, m-1)
	return n + 1, err
})

// How do several run at each server, but only so many at a time?
func ExampleRemoteCoroScheduler_Submit_limit() {
	in(1, func(ctx context.Context, _ *discoro.Runtime, comp *discoro.Computation) error {
		rcs, err := discoro.NewRemoteCoroScheduler(comp)
		if err != nil {
			return err
		}
		const limit, tasks = 3, 20
		counts, errs := make([]int, tasks), make([]error, tasks)
		turns := make(chan struct{}, limit)
		var wg sync.WaitGroup
		for i := range tasks {
			turns <- struct{}{}
			wg.Go(func() {
				defer func() { <-turns }()
				var run *discoro.Coro
				if run, errs[i] = rcs.Submit(ctx, poll.With(discoro.None{})); errs[i] == nil {
					counts[i], errs[i] = discoro.Result[int](ctx, run)
				}
			})
		}
		wg.Wait()
		fmt.Println("more than the limit:", slices.Max(counts) > limit)
		return errors.Join(errors.Join(errs...), rcs.Finish(ctx, true))
	})
	// Output: more than the limit: false
}
