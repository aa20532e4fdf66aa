package test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/internal/testkit/live"
)

// TestPromise08WholeAgain lets every fault of a network happen to each host. Within two ping
// intervals after the fault the cluster is whole again by itself.
func TestPromise08WholeAgain(t *testing.T) {
	const ping = 30 * time.Second
	dials := discoro.NodeConfig{Config: discoro.Config{UDPPort: -1}} // a node that is known only because it dials
	inMemory(t, 1, discoro.SchedulerConfig{PingInterval: ping}, dials, func(c *memCluster) {
		c.node(discoro.NodeConfig{}) // and a node that is discovered
		st := c.statuses(c.sched.Runtime)
		p := c.schedule(c.sched.Runtime, 4, discoro.ComputationConfig{PulseInterval: 10 * time.Second, Status: st.coro})
		whole := func(after string) {
			t.Helper()
			start := time.Now()
			for {
				synctest.Wait() // the fault has been noticed, if it can be
				err := p.WaitServers(c.ctx, 4)
				for _, n := range c.nodes {
					if err == nil {
						var co *discoro.Coro
						if co, err = p.RunAt(c.ctx, discoro.NodeAddr(n.Location().String()), memNap.With(0)); err == nil {
							err = co.Wait(c.ctx)
						}
					}
				}
				if took := time.Since(start); took > 2*ping {
					t.Errorf("after %s not all is well %v later: %v", after, took, err)
				} else if err != nil {
					<-time.After(time.Second)
					continue
				}
				return
			}
		}
		for _, host := range []string{"n1", "n2", "sched"} {
			c.net.Break(host)
			whole(host + " broke its connections")
			c.net.Cut(host)
			<-time.After(30 * time.Second)
			c.net.Heal(host)
			whole(host + " was cut off for three pulses")
			c.net.Cut(host)
			<-time.After(3 * time.Minute)
			c.net.Heal(host)
			whole(host + " was cut off for long")
		}
		// A fresh node, at the same place.
		old := c.nodes[0]
		at := old.Location()
		if err := old.Close(); err != nil {
			t.Fatal(err)
		}
		dials.TCPPort, dials.Peers, dials.Servers = at.Port, []string{c.sched.Location().String()}, 2
		dials.Config = c.at("n1", dials.Config)
		next, err := discoro.NewNode(dials)
		if err != nil {
			t.Fatal(err)
		}
		defer next.Close()
		if next.Location() != at {
			t.Errorf("the node is at %v, and was at %v", next.Location(), at)
		}
		whole("a restart of n1")
		if err := p.Close(c.ctx); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		var told []discoro.Status
		for len(st.all) > 0 {
			if s, ok := (<-st.all).(discoro.Status); ok {
				told = append(told, s)
			}
		}
		live.CheckStatuses(t, told)
	})
}
