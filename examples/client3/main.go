// Command client3 sends objects of its own type to coroutines at servers, and gets them back.
//
// The client sends a Series as a message. A coroutine at a server computes what it can say about
// it, and sends the Series back. In asyncoro: discoro_client3.py.
//
//	go run ./examples/client3                          # two servers on this machine
//
// On several machines, with the same DISCORO_SECRET everywhere:
//
//	go run ./examples/client3 -node -listen 10.0.0.8:7070    # on 10.0.0.8: a node
//	go run ./examples/client3 -peers 10.0.0.8:7070           # elsewhere: the client
package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/examples/internal/demo"
)

// Series goes in both directions. Its exported fields travel. Both sides have its methods, because
// both are built with them.
type Series struct {
	ID     int
	Values []float64

	Mean, Deviation, Median float64 // set at the server
}

// A message is an any, so the type needs a name by which the other side recognises it.
func init() { discoro.RegisterType[Series]("client3.series") }

func (s *Series) analyse() {
	for _, v := range s.Values {
		s.Mean += v / float64(len(s.Values))
	}
	for _, v := range s.Values {
		s.Deviation += (v - s.Mean) * (v - s.Mean) / float64(len(s.Values)-1)
	}
	s.Deviation = math.Sqrt(s.Deviation)
	sorted := slices.Sorted(slices.Values(s.Values))
	s.Median = sorted[len(sorted)/2]
}

// analyse runs at servers. It receives a Series, and sends it to the coroutine of the client that
// collects them: its argument is the handle.
var analyse = discoro.Register("client3.analyse", func(c *discoro.Coro, client *discoro.Coro) (discoro.None, error) {
	s, err := discoro.ReceiveAs[Series](c)
	if err != nil {
		return discoro.None{}, err
	}
	if len(s.Values) < 2 {
		return discoro.None{}, fmt.Errorf("series %d has %d values, too few", s.ID, len(s.Values))
	}
	s.analyse()
	s.Values = nil // the client has the values
	return discoro.None{}, client.Send(s)
})

func main() {
	discoro.Init() // a server process goes no further
	demo.Main(&demo.Program{Name: "client3", Servers: 2, Work: run})
}

func run(ctx context.Context, sched *discoro.Scheduler, _ string) error {
	const series = 10
	comp, err := discoro.NewComputation(sched.Runtime)
	if err != nil {
		return err
	}
	rcs, err := discoro.NewRemoteCoroScheduler(comp)
	if err != nil {
		return err
	}
	collector := sched.Spawn("collector", func(c *discoro.Coro) (any, error) { return collect(c, series) })
	var coros []*discoro.Coro
	for id := range series {
		coro, err := rcs.Schedule(ctx, analyse.With(collector)) // waits for a server that is free
		if err == nil {
			err = coro.Send(newSeries(id))
		}
		if err != nil {
			return err
		}
		coros = append(coros, coro)
	}
	for _, coro := range coros {
		if err := coro.Wait(ctx); err != nil { // then its series would never come
			return err
		}
	}
	found, err := discoro.Result[[]Series](ctx, collector)
	for _, s := range found {
		fmt.Printf("series %d: mean %6.3f, deviation %.3f, median %6.3f\n", s.ID, s.Mean, s.Deviation, s.Median)
	}
	return errors.Join(err, rcs.Finish(ctx, true))
}

// collect receives n series, which come in any order, and sorts them.
func collect(c *discoro.Coro, n int) ([]Series, error) {
	var found []Series
	for range n {
		s, err := discoro.ReceiveAs[Series](c)
		if err != nil {
			return nil, err
		}
		found = append(found, s)
	}
	slices.SortFunc(found, func(a, b Series) int { return a.ID - b.ID })
	return found, nil
}

// newSeries returns numbers that are the same in every run.
func newSeries(id int) Series {
	rng := rand.New(rand.NewPCG(3, uint64(id)))
	s := Series{ID: id, Values: make([]float64, 10_001)}
	for i := range s.Values {
		s.Values[i] = float64(id) + rng.NormFloat64()
	}
	return s
}
