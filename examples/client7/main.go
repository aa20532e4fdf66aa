// Command client7 schedules its jobs by itself, from the statuses of the computation.
//
// A coroutine receives the statuses, gives each server a job when the server is ready, and the next
// job when that one has ended. It uses no RemoteCoroScheduler; example client1 shows the easier
// way. The jobs throw darts at a circle to compute pi. In asyncoro: discoro_client7.py.
//
//	go run ./examples/client7                          # two servers on this machine
//
// On several machines, with the same DISCORO_SECRET everywhere:
//
//	go run ./examples/client7 -node -listen 10.0.0.8:7070    # on 10.0.0.8: a node
//	go run ./examples/client7 -peers 10.0.0.8:7070           # elsewhere: the client
package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/examples/internal/demo"
)

const (
	jobs  = 10
	darts = 2_000_000 // of each job
)

// throw is a job: it throws darts at a square and returns how many hit the circle in it. The number
// of the job is its seed, so the result does not depend on the server.
var throw = discoro.Register("client7.throw", func(_ *discoro.Coro, job int) (hits int, err error) {
	rng := rand.New(rand.NewPCG(7, uint64(job)))
	for range darts {
		x, y := rng.Float64(), rng.Float64()
		if x*x+y*y < 1 {
			hits++
		}
	}
	return hits, nil
})

func main() {
	discoro.Init() // a server process goes no further
	demo.Main(&demo.Program{Name: "client7", Servers: 2, Work: run})
}

func run(ctx context.Context, sched *discoro.Scheduler, _ string) error {
	s := &scheduler{running: map[*discoro.Coro]int{}}
	for job := range jobs {
		s.waiting = append(s.waiting, job)
	}
	hits, err := discoro.Result[int](ctx, sched.Spawn("scheduler", s.run))
	if err != nil {
		return err
	}
	fmt.Printf("pi is about %.4f: %d of %d darts hit, in %d jobs\n", 4*float64(hits)/(jobs*darts), hits, jobs*darts, jobs)
	return nil
}

// scheduler is the state of its coroutine. Nothing else uses it.
type scheduler struct {
	comp    *discoro.Computation
	waiting []int                 // jobs to be started
	running map[*discoro.Coro]int // which job each coroutine is
	free    []discoro.Location    // servers without a job
	hits    int
	done    int
}

// run is the body of the scheduler's coroutine; its result is how many darts hit.
func (s *scheduler) run(c *discoro.Coro) (any, error) {
	comp, err := discoro.NewComputation(c.Runtime(), discoro.ComputationConfig{Status: c})
	if err != nil {
		return nil, err
	}
	s.comp = comp
	if err := comp.Schedule(c); err != nil {
		return nil, err
	}
	if err := comp.WaitServers(c, 1); err != nil { // while there is no server, the log says why
		return nil, errors.Join(err, comp.Close(c))
	}
	for s.done < jobs {
		msg, err := c.Receive()
		if err == nil {
			err = s.handle(c, msg)
		}
		if err != nil {
			return nil, errors.Join(err, comp.Close(c))
		}
	}
	return s.hits, comp.Close(c)
}

// handle takes a message that the status coroutine receives.
func (s *scheduler) handle(c *discoro.Coro, msg any) error {
	switch m := msg.(type) {
	case discoro.Status:
		switch m.Kind { //nolint:exhaustive // nothing is to be done for the others
		case discoro.ServerInitialized: // at the start, and when a server replaces a lost one
			fmt.Println("a server can be used")
			s.free = append(s.free, m.Server)
		case discoro.ServerClosed, discoro.ServerDisconnected:
			s.free = slices.DeleteFunc(s.free, func(l discoro.Location) bool { return l == m.Server })
		case discoro.NodeIgnore, discoro.ServerIgnore:
			fmt.Println(m) // has the reason
		}
	case discoro.Exit:
		if err := s.ended(m); err != nil {
			return err
		}
	case discoro.NodeAvail:
		fmt.Printf("a node has %.0f%% of its CPU to spare\n", m.CPU)
	}
	return s.start(c)
}

// start gives free servers the next jobs.
func (s *scheduler) start(c *discoro.Coro) error {
	for len(s.waiting) > 0 && len(s.free) > 0 {
		job, server := s.waiting[0], s.free[0]
		s.free = s.free[1:]
		coro, err := s.comp.RunAt(c, server, throw.With(job)) // other coroutines run while this one waits
		switch {
		case err == nil:
			s.waiting = s.waiting[1:]
			s.running[coro] = job
		case !errors.Is(err, discoro.ErrNotFound) && !errors.As(err, new(*discoro.ServerLostError)):
			return err
		} // else the server was lost, and another one gets the job
	}
	return nil
}

// ended takes the result of a job, whose server is free then.
func (s *scheduler) ended(exit discoro.Exit) error {
	job, known := s.running[exit.Coro]
	if !known {
		return nil // the coroutine never started
	}
	delete(s.running, exit.Coro)
	hits, err := discoro.ExitResult[int](exit)
	switch {
	case errors.As(err, new(*discoro.ServerLostError)):
		fmt.Printf("job %d is lost with its server, and runs again\n", job)
		s.waiting = append(s.waiting, job)
		return nil
	case err != nil:
		return fmt.Errorf("job %d: %w", job, err)
	}
	s.hits += hits
	s.done++
	fmt.Printf("job %d: %d hits\n", job, hits)
	s.free = append(s.free, exit.Coro.Location())
	return nil
}
