package discoro_test

import (
	"context"
	"fmt"
	"log"
	"os/exec"
	"strings"
	"time"

	"github.com/discoro/discoro"
)

// What do the coroutines of this program do?
func ExampleRuntime_Coros() {
	rt, err := discoro.NewRuntime()
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Close()

	worker := rt.Spawn("worker", func(c *discoro.Coro) (any, error) { return nil, c.Sleep(time.Hour) })
	rt.Spawn("asker", func(c *discoro.Coro) (any, error) { return discoro.Ask[string](c, worker, "are you there?") })
	last := rt.Spawn("last", func(*discoro.Coro) (any, error) { return nil, nil })
	_ = last.Wait(context.Background()) // when it has ended both wait: coroutines run in turn

	for _, s := range rt.Coros()[:2] {
		fmt.Printf("%s: %s, %d messages in its mailbox\n", s.Name, s.State, s.Mailbox)
		if s.On != nil {
			fmt.Println("  waits for", s.On.Name())
		}
	}
	// Output:
	// worker: Sleep, 1 messages in its mailbox
	// asker: Ask, 0 messages in its mailbox
	//   waits for worker
}

// How does something happen again and again, until it is stopped?
func ExampleCoro_Sleep() {
	rt, err := discoro.NewRuntime()
	if err != nil {
		log.Fatal(err)
	}
	ticks := make(chan int)
	ticker := rt.Spawn("ticker", func(c *discoro.Coro) (any, error) {
		for n := 1; ; n++ {
			select {
			case ticks <- n: // or whatever there is to be done
			default:
			}
			if err := c.Sleep(time.Millisecond); err != nil {
				return nil, err // ErrTerminated
			}
		}
	})
	first := <-ticks
	fmt.Println(first < <-ticks)
	_ = ticker.Terminate()
	fmt.Println(ticker.Wait(context.Background()))
	fmt.Println(rt.Close())
	// Output:
	// true
	// terminated
	// <nil>
}

// sortLines has the program sort do the work, which must be at every server's machine.
var sortLines = discoro.Register("example.sort", func(c *discoro.Coro, lines []string) (sorted []string, err error) {
	err = c.Blocking(func() error { // other coroutines of the server run meanwhile
		cmd := exec.CommandContext(c, "sort") // killed when the coroutine is terminated
		cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
		out, err := cmd.Output()
		sorted = strings.Fields(string(out))
		return err
	})
	return sorted, err
})

// How does a server run an external program? The example client5 talks to one while it runs.
func ExampleCoro_Blocking_program() {
	in(1, func(ctx context.Context, _ *discoro.Runtime, comp *discoro.Computation) error {
		coro, err := comp.Run(ctx, sortLines.With([]string{"pear", "apple", "fig"}))
		if err != nil {
			return err
		}
		fmt.Println(discoro.Result[[]string](ctx, coro))
		return nil
	})
	// Output: [apple fig pear] <nil>
}
