package discoro_test

import (
	"context"
	"errors"
	"fmt"
	"iter"

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
	on(1, func(ctx context.Context, sched *discoro.Scheduler, node *discoro.Node) error {
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
		if err := node.KillServer(run.Location()); err != nil { // as kill -9 would
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
