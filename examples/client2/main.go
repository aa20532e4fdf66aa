// Command client2 shows the nodes, servers and coroutines of a computation while they change.
//
// A status coroutine keeps a board of the nodes with their free CPU, memory and disk, the servers,
// and the coroutines there. For a node or server that is not used it shows the reason. It passes
// every status on to the RemoteCoroScheduler that runs the work. A dashboard needs nothing else.
// The work is to count the primes below ten million by trial division. In asyncoro:
// discoro_client2.py.
//
//	go run ./examples/client2                          # two servers on this machine
//
// On several machines, with the same DISCORO_SECRET everywhere:
//
//	go run ./examples/client2 -node -listen 10.0.0.8:7070    # on 10.0.0.8: a node
//	go run ./examples/client2 -peers 10.0.0.8:7070           # elsewhere: the client
package main

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/examples/internal/demo"
)

const (
	limit = 10_000_000
	step  = 500_000 // numbers of one piece of work
)

// Range is a piece of work: the numbers from From to below To. The board shows it as the coroutine's argument.
type Range struct{ From, To int }

func (r Range) String() string { return fmt.Sprintf("%d..%d", r.From, r.To-1) }

// primes counts the primes of a range. It computes all the time, so a server should run one at a time.
var primes = discoro.Register("client2.primes", func(_ *discoro.Coro, r Range) (count int, err error) {
	var small []int // the primes that divide numbers below To, if any do
	for n := 2; n*n < r.To; n++ {
		if isPrime(n, small) {
			small = append(small, n)
		}
	}
	for n := max(r.From, 2); n < r.To; n++ {
		if isPrime(n, small) {
			count++
		}
	}
	return count, nil
})

func isPrime(n int, small []int) bool {
	for _, p := range small {
		if p*p > n {
			break
		}
		if n%p == 0 {
			return false
		}
	}
	return true
}

func main() {
	discoro.Init() // a server process goes no further
	demo.Main(&demo.Program{Name: "client2", Servers: 2, Work: run})
}

func run(ctx context.Context, sched *discoro.Scheduler, _ string) error {
	b := newBoard()
	status := sched.Spawn("board", b.run)
	comp, err := discoro.NewComputation(sched.Runtime, discoro.ComputationConfig{Status: status})
	if err != nil {
		return err
	}
	rcs, err := discoro.NewRemoteCoroScheduler(comp, discoro.RCSConfig{Retries: 2})
	if err != nil {
		return err
	}
	if err := status.Send(rcs.StatusCoro()); err != nil { // from now on the board passes statuses on
		return err
	}
	counts, err := discoro.MapResults(ctx, rcs, primes, ranges())
	if err := errors.Join(err, rcs.Finish(ctx, true), status.Wait(ctx)); err != nil {
		return err
	}
	total := 0
	for _, n := range counts {
		total += n
	}
	fmt.Printf("%d primes below %d, in %d coroutines\n", total, limit, len(counts))
	return nil
}

func ranges() iter.Seq[Range] {
	return func(yield func(Range) bool) {
		for from := 0; from < limit; from += step {
			if !yield(Range{from, min(from+step, limit)}) {
				return
			}
		}
	}
}
