package discorotest_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/discorotest"
)

// square is what the program under test registers.
var square = discoro.Register("square", func(c *discoro.Coro, n int) (int, error) { return n * n, c.Sleep(time.Millisecond) })

// squares is what it does: it survives the loss of servers.
func squares(ctx context.Context, comp *discoro.Computation, numbers []int) ([]int, error) {
	rcs, err := discoro.NewRemoteCoroScheduler(comp, discoro.RCSConfig{Retries: 3})
	if err != nil {
		return nil, err
	}
	results, err := discoro.MapResults(ctx, rcs, square, slices.Values(numbers))
	return results, errors.Join(err, rcs.Finish(ctx, true))
}

var t *testing.T // the test's

// A test of a program in which servers are lost.
func Example() {
	// func TestSquaresWhenAServerDies(t *testing.T)
	cluster := discorotest.New(t, discorotest.Config{Nodes: 3, Servers: 2})
	comp := cluster.Computation(t, discoro.ComputationConfig{})
	cluster.KillServer(cluster.Nodes[0].Servers()[0])
	got, err := squares(t.Context(), comp, []int{1, 2, 3})
	if err != nil || !slices.Equal(got, []int{1, 4, 9}) {
		t.Errorf("%v, %v", got, err)
	}
}

// A test in which a node is gone for a night, in fake time.
func ExampleCluster_Cut() {
	// func TestSquaresAfterANight(t *testing.T)
	synctest.Test(t, func(t *testing.T) {
		cluster := discorotest.New(t, discorotest.Config{Nodes: 2, InMemory: true})
		comp := cluster.Computation(t, discoro.ComputationConfig{})
		cluster.Cut(1)
		<-time.After(8 * time.Hour)
		cluster.Heal(1)
		got, err := squares(t.Context(), comp, []int{1, 2, 3})
		if err != nil || !slices.Equal(got, []int{1, 4, 9}) {
			t.Errorf("%v, %v", got, err)
		}
	})
}
