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

// A test of a program that makes its own runtimes: a message waits until its host can be reached.
func ExampleNewNetwork() {
	// func TestMessageAfterACut(t *testing.T)
	synctest.Test(t, func(t *testing.T) {
		network := discorotest.NewNetwork(t, true)
		server := network.Runtime(t, "server", discoro.Config{})
		client := network.Runtime(t, "client", discoro.Config{Peers: []string{server.Location().String()}})
		got := make(chan any, 1)
		inbox := server.Spawn("inbox", func(c *discoro.Coro) (any, error) {
			msg, err := c.Receive()
			got <- msg
			return nil, err
		})
		if err := inbox.Register("inbox"); err != nil {
			t.Fatal(err)
		}
		handle, err := client.Locate(t.Context(), "inbox", server.Location())
		if err != nil {
			t.Fatal(err)
		}
		network.Cut("server")
		if err := handle.Send("hello"); err != nil {
			t.Fatal(err)
		}
		<-time.After(40 * time.Second) // longer, and the link would be given up
		network.Heal("server")
		if msg := <-got; msg != "hello" {
			t.Errorf("%v came", msg)
		}
	})
}
