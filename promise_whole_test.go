package discoro

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestPromise08WholeAgain lets every fault of a network happen to each host: the cluster is whole again by itself within two ping
// intervals of its end.
func TestPromise08WholeAgain(t *testing.T) {
	const ping = 30 * time.Second
	dials := NodeConfig{Config: Config{UDPPort: -1}} // one that is known only because it dials
	inMemory(t, 1, SchedulerConfig{PingInterval: ping}, dials, func(c *memCluster) {
		c.node(NodeConfig{}) // and one that is found
		st := c.statuses(c.sched.Runtime)
		p := c.schedule(c.sched.Runtime, 4, ComputationConfig{PulseInterval: 10 * time.Second, Status: st.coro})
		whole := func(after string) {
			t.Helper()
			start := time.Now()
			for {
				synctest.Wait() // the fault has been noticed, if it can be
				err := p.WaitServers(c.ctx, 4)
				for _, n := range c.nodes {
					if err == nil {
						var co *Coro
						if co, err = p.RunAt(c.ctx, NodeAddr(n.Location().String()), timesNap.With(0)); err == nil {
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
			h := c.net.Host(host)
			h.Break()
			whole(host + " broke its connections")
			h.Cut()
			<-time.After(30 * time.Second)
			h.Heal()
			whole(host + " was cut off for three pulses")
			h.Cut()
			<-time.After(3 * time.Minute)
			h.Heal()
			whole(host + " was cut off for long")
		}
		// A node that comes anew, at the same place.
		old := c.nodes[0]
		at := old.Location()
		if err := old.Close(); err != nil {
			t.Fatal(err)
		}
		dials.host, dials.TCPPort, dials.Peers = c.net.Host("n1"), at.Port, []string{c.sched.Location().String()}
		dials.Logger, dials.Servers = discard, 2
		next, err := NewNode(dials)
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
		var told []Status
		for len(st.all) > 0 {
			if s, ok := (<-st.all).(Status); ok {
				told = append(told, s)
			}
		}
		CheckStatuses(t, told)
	})
}
