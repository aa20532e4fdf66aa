package discoro

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/wire"
)

// TestRunAfterALostServer runs a function at the moment at which the client learns that a server is
// lost. Its own scheduler does not send the run there.
func TestRunAfterALostServer(t *testing.T) {
	inMemory(t, 1, SchedulerConfig{}, NodeConfig{Servers: 1}, func(c *memCluster) {
		p := c.schedule(c.sched.Runtime, 1, ComputationConfig{})
		first, err := p.Run(c.ctx, timesNap.With(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		next := make(chan *job, 1)
		first.job.done.OnDone(func(call.Outcome) {
			j, err := p.post(wire.Where{}, 0, timesNap.With(0))
			if err != nil {
				t.Error(err)
			}
			next <- j
		})
		l := c.sched.linkTo(first.job.server.ID, first.Location())
		l.Fail(errors.New("cut by the test"))
		var lost *ServerLostError
		if err := first.Wait(c.ctx); !errors.As(err, &lost) || lost.Server != first.Location() {
			t.Errorf("the first ended with %v", err)
		}
		second, err := p.awaitStart(c.ctx, <-next)
		if err != nil {
			t.Fatalf("the second: %v", err)
		}
		if err := second.Wait(c.ctx); err != nil || second.Location() == first.Location() {
			t.Errorf("the second, at %v: %v", second, err)
		}
		if err := p.Close(c.ctx); err != nil {
			t.Error(err)
		}
	})
}

// TestServerLostWhileClosing breaks the link to a server of a closing computation, before the
// client learns what the server has ended, or that the computation is over. What ran there was
// terminated, as Close promises.
func TestServerLostWhileClosing(t *testing.T) {
	inMemory(t, 1, SchedulerConfig{}, NodeConfig{Servers: 1}, func(c *memCluster) {
		for _, own := range []bool{true, false} {
			client := c.sched.Runtime
			if !own {
				client = c.client("c")
			}
			p := c.schedule(client, 1, ComputationConfig{})
			co, err := p.Run(c.ctx, timesNap.With(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			c.net.Host("n1").Cut()
			if !own {
				hostOf(client).Cut()
			}
			closed := make(chan error, 1)
			go func() { closed <- p.Close(c.ctx) }()
			synctest.Wait()
			client.linkTo(co.job.server.ID, co.Location()).Fail(errors.New("cut by the test"))
			c.net.Heal()
			if err := co.Wait(c.ctx); !errors.Is(err, ErrTerminated) || !strings.Contains(err.Error(), "terminated, as ") {
				t.Errorf("own scheduler %v: it ended with %v", own, err)
			}
			if err := <-closed; err != nil {
				t.Error(err)
			}
		}
	})
}
