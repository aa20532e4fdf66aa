package discoro

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/discoro/discoro/internal/testnet"
)

// What a scheduler does with time, in fake time: whole clusters in memory.

// TestCutOffNode cuts a node off, without a word to anybody, for less than five of the computation's pulses and for more, and
// heals that.
func TestCutOffNode(t *testing.T) {
	const pulse = 30 * time.Second
	inMemory(t, 2, SchedulerConfig{}, NodeConfig{}, func(c *memCluster) {
		st := c.statuses(c.sched.Runtime)
		p := c.schedule(c.sched.Runtime, 4, ComputationConfig{PulseInterval: pulse, Status: st.coro})
		addr := c.nodes[0].Location().String()
		co, err := p.RunAt(c.ctx, NodeAddr(addr), timesNap.With(5*pulse))
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(pulse / 2) // they have told each other how often they pulse
		before, _ := st.take()

		c.net.Host("n1").Cut()
		<-time.After(4*pulse + pulse/2)
		c.net.Host("n1").Heal()
		if d, err := Result[time.Duration](c.ctx, co); d != 5*pulse || err != nil {
			t.Errorf("after a cut of less than five pulses: %v, %v", d, err)
		}
		if lines, _ := st.take(); len(lines) != 1 { // the Exit
			t.Errorf("%q, and now %q", before, lines)
		}

		if co, err = p.RunAt(c.ctx, NodeAddr(addr), timesNap.With(time.Hour)); err != nil {
			t.Fatal(err)
		}
		<-time.After(pulse)
		st.take()
		c.net.Host("n1").Cut()
		start := time.Now()
		err = co.Wait(c.ctx)
		var lost *ServerLostError
		if !errors.As(err, &lost) || !strings.Contains(err.Error(), "no sign of life") {
			t.Errorf("cut off: %v", err)
		}
		if took := time.Since(start); took < 4*pulse || took > 5*pulse+time.Second {
			t.Errorf("it was noticed after %v", took)
		}
		<-time.After(pulse)
		lines, _ := st.take()
		if n := strings.Count(strings.Join(lines, "\n"), "ServerDisconnected node "+addr); n != 2 || !strings.HasPrefix(lines[len(lines)-1], "NodeDisconnected node "+addr) {
			t.Errorf("told of the cut: %q", lines)
		}
		if n, err := p.Nodes(c.ctx); len(n) != 1 || err != nil {
			t.Errorf("nodes %v, %v", n, err)
		}
		<-time.After(5 * pulse)
		c.net.Heal()
		if err := p.WaitServers(c.ctx, 4); err != nil {
			t.Error(err)
		}
		if co, err = p.RunAt(c.ctx, NodeAddr(addr), timesNap.With(0)); err == nil {
			err = co.Wait(c.ctx)
		}
		if err != nil {
			t.Errorf("after it was healed: %v", err)
		}
		if err := p.Close(c.ctx); err != nil {
			t.Error(err)
		}
		<-time.After(time.Minute) // the pulses are the usual ones again
		for _, rt := range []*Runtime{c.sched.Runtime, c.nodes[0].rt, c.nodes[1].rt} {
			if d := rt.net.Pulse(); d != MinPulseInterval {
				t.Errorf("%v pulses every %v", rt, d)
			}
		}
	})
}

// TestNodeAvailInterval has nodes tell what they have to spare at the computation's pulses.
func TestNodeAvailInterval(t *testing.T) {
	inMemory(t, 2, SchedulerConfig{}, NodeConfig{MinPulseInterval: time.Second}, func(c *memCluster) {
		<-time.After(availFirst)
		for _, pulse := range []time.Duration{0, time.Second, 100 * time.Second} {
			st := c.statuses(c.sched.Runtime)
			p := c.schedule(c.sched.Runtime, 4, ComputationConfig{PulseInterval: pulse, Status: st.coro})
			st.take()
			if pulse == 0 {
				pulse = 2 * MinPulseInterval
			}
			<-time.After(5*pulse + pulse/2)
			if lines, n := st.take(); n < 10 || n > 11 || len(lines) > 0 {
				t.Errorf("in five intervals of %v two nodes told %d times what they have to spare; also came %q", pulse, n, lines)
			}
			if err := p.Close(c.ctx); err != nil {
				t.Error(err)
			}
		}
		if err := c.refused(ComputationConfig{PulseInterval: time.Second / 2}); !strings.Contains(err.Error(), "PulseInterval is 500ms, and the node takes 1s to 1m40s") {
			t.Error(err)
		}
	})
}

// TestNodeAvailOfAFreshNode has a node that has just started tell once more what it has to spare when it knows, whatever it has served
// until then.
func TestNodeAvailOfAFreshNode(t *testing.T) {
	inMemory(t, 1, SchedulerConfig{}, NodeConfig{}, func(c *memCluster) {
		<-time.After(availFirst / 2)
		if err := c.schedule(c.sched.Runtime, 2, ComputationConfig{}).Close(c.ctx); err != nil {
			t.Error(err)
		}
		st := c.statuses(c.sched.Runtime)
		p := c.schedule(c.sched.Runtime, 2, ComputationConfig{Status: st.coro})
		for _, at := range []struct {
			wait time.Duration
			want int
		}{{0, 1}, {availFirst / 2, 1}, {19 * time.Second, 0}, {time.Second, 1}, {20 * time.Second, 1}} {
			<-time.After(at.wait)
			synctest.Wait()
			if _, n := st.take(); n != at.want {
				t.Errorf("after %v more it told %d times what it has to spare, want %d", at.wait, n, at.want)
			}
		}
		if err := p.Close(c.ctx); err != nil {
			t.Error(err)
		}
	})
}

// refused returns why a computation has no servers.
func (c *memCluster) refused(cfg ComputationConfig) error {
	c.Helper()
	p := c.schedule(c.sched.Runtime, 0, cfg)
	ctx, cancel := context.WithTimeout(c.ctx, time.Minute)
	defer cancel()
	err := p.WaitServers(ctx, 1)
	if !errors.Is(err, ErrNoServer) {
		c.Errorf("it has a server: %v", err)
	}
	if err := p.Close(c.ctx); err != nil {
		c.Error(err)
	}
	return fmt.Errorf("refused: %w", err)
}

// TestZombieOfABatch closes an idle computation of a client elsewhere, so that the next has its turn.
func TestZombieOfABatch(t *testing.T) {
	const period = time.Minute
	inMemory(t, 1, SchedulerConfig{ZombiePeriod: period}, NodeConfig{}, func(c *memCluster) {
		first, second := c.client("c1"), c.client("c2")
		st := c.statuses(first)
		p1 := c.schedule(first, 2, ComputationConfig{Status: st.coro})
		p2, err := NewComputation(second)
		if err != nil {
			t.Fatal(err)
		}
		turn := make(chan error, 1)
		go func() { turn <- p2.Schedule(c.ctx, c.sched.Location()) }()
		synctest.Wait()
		if n, err := p2.Position(c.ctx); n != 1 || err != nil {
			t.Errorf("the second is number %d, %v", n, err)
		}
		if n, err := p1.Position(c.ctx); n != 0 || err != nil {
			t.Errorf("the first is number %d, %v", n, err)
		}
		co, err := p1.Run(c.ctx, timesNap.With(2*period))
		if err != nil {
			t.Fatal(err)
		}
		if err := co.Wait(c.ctx); err != nil {
			t.Errorf("a long run: %v", err)
		}
		st.take()
		idle := time.Now()
		if err := <-turn; err != nil {
			t.Error(err)
		}
		if waited := time.Since(idle); waited < period || waited > period+10*time.Second {
			t.Errorf("the second had its turn after %v", waited)
		}
		lines, _ := st.take()
		kinds := make([]string, len(lines))
		for i, line := range lines {
			kinds[i], _, _ = strings.Cut(line, " ")
			kinds[i] = strings.TrimSuffix(kinds[i], ":")
			if !strings.HasSuffix(line, "nothing ran, and nothing was submitted, for 1m0s: its zombie period") {
				t.Errorf("told %q", line)
			}
		}
		if want := []string{"ServerClosed", "ServerClosed", "NodeClosed", "ComputationClosed"}; !slices.Equal(kinds, want) {
			t.Errorf("told %q, want %q", kinds, want)
		}
		if _, err := p1.Run(c.ctx, timesNap.With(0)); !errors.Is(err, ErrClosed) || !strings.Contains(err.Error(), "zombie period") {
			t.Errorf("a run then: %v", err)
		}
		if err := p2.Close(c.ctx); err != nil {
			t.Error(err)
		}
	})
}

// TestZombieNode has a node leave when it runs nothing, though others are busy, and serve the next computation.
func TestZombieNode(t *testing.T) {
	inMemory(t, 1, SchedulerConfig{ZombiePeriod: -1}, NodeConfig{}, func(c *memCluster) {
		idle := c.node(NodeConfig{Config: Config{Peers: []string{c.sched.Location().String()}}, ZombiePeriod: time.Minute}).Location().String()
		client := c.client("c1")
		st := c.statuses(client)
		p := c.schedule(client, 4, ComputationConfig{Status: st.coro})
		co, err := p.RunAt(c.ctx, NodeAddr(c.nodes[0].Location().String()), timesNap.With(3*time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		st.take()
		<-time.After(2 * time.Minute)
		lines, _ := st.take()
		if len(lines) != 3 || lines[2] != "NodeClosed node "+idle+": nothing ran there for 1m0s: the node's zombie period" {
			t.Errorf("told %q", lines)
		}
		if err := co.Wait(c.ctx); err != nil {
			t.Error(err)
		}
		<-time.After(2 * DefaultZombiePeriod) // no period for the computation
		if _, err := p.Run(c.ctx, timesNap.With(0)); err != nil {
			t.Error(err)
		}
		if err := p.Close(c.ctx); err != nil {
			t.Error(err)
		}
		if err := c.schedule(c.client("c2"), 4, ComputationConfig{}).Close(c.ctx); err != nil {
			t.Error(err)
		}
	})
}

// TestPing finds nodes that were started late and dial nobody: by the scheduler's interval, and by a computation's.
func TestPing(t *testing.T) {
	t.Parallel()
	const interval = 20 * time.Second
	for name, tt := range map[string]struct{ sched, comp time.Duration }{
		"scheduler": {sched: interval}, "computation": {comp: interval}, "the less of both": {time.Hour, interval},
	} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, 0, SchedulerConfig{PingInterval: tt.sched}, NodeConfig{}, func(c *memCluster) {
				p := c.schedule(c.sched.Runtime, 0, ComputationConfig{PingInterval: tt.comp})
				<-time.After(3*interval + interval/2)
				start := time.Now()
				c.node(NodeConfig{})
				if err := p.WaitServers(c.ctx, 2); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(start); took < time.Second || took > interval+5*time.Second {
					t.Errorf("the node was found after %v", took)
				}
				if err := p.Close(c.ctx); err != nil {
					t.Error(err)
				}
				<-time.After(interval) // a search may be under way
				late := c.node(NodeConfig{})
				<-time.After(2 * interval)
				if found := slices.Contains(c.sched.Peers(), late.Location()); found != (tt.sched == interval) {
					t.Errorf("after the computation the next node is found: %v", found)
				}
			})
		})
	}
}

// TestNodesElsewhere has a scheduler reach one node of a network that it cannot discover, and by that one the others, also those
// that come later; and again when all were gone.
func TestNodesElsewhere(t *testing.T) {
	const here, there = 7, 8
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := testnet.NewInMemory()
		c := &memCluster{T: t, net: n, ctx: t.Context()}
		far := NodeConfig{Config: Config{UDPPort: there, TCPPort: 1234}, Servers: 1}
		first := c.node(far)
		far.TCPPort = 0
		c.node(far)
		sched, err := NewScheduler(SchedulerConfig{
			Config: Config{UDPPort: here, tuning: tuning{host: n.Host("sched")}, Logger: discard},
			Nodes:  []string{first.Location().String()}, PingInterval: 20 * time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		c.sched = sched
		defer sched.Close()
		p := c.schedule(sched.Runtime, 2, ComputationConfig{})
		far.UDPPort = -1
		deaf := c.node(far)
		far.UDPPort = there
		c.node(far)
		if err := p.WaitServers(c.ctx, 3); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Minute)
		if slices.Contains(sched.Peers(), deaf.Location()) {
			t.Error("a node was found that cannot be")
		}
		n.Host("sched").Cut()
		<-time.After(2 * time.Minute)
		if servers, err := p.Servers(c.ctx); len(servers) != 0 || err != nil {
			t.Errorf("cut off, with %v, %v", servers, err)
		}
		n.Heal()
		start := time.Now()
		if err := p.WaitServers(c.ctx, 3); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > 2*time.Minute {
			t.Errorf("it took %v until all were there again", took)
		}
		if err := p.Close(c.ctx); err != nil {
			t.Error(err)
		}
	})
}

func TestTimesAreChecked(t *testing.T) {
	t.Parallel()
	rt := testRuntime(t, Config{})
	for says, cfg := range map[string]ComputationConfig{
		"PulseInterval: -1ns is negative": {PulseInterval: -1}, "PulseInterval: 1ms is not between": {PulseInterval: time.Millisecond},
		"PulseInterval: 2h0m0s is not": {PulseInterval: 2 * time.Hour}, "PingInterval: 9s is less than": {PingInterval: 9 * time.Second},
		"ZombiePeriod: -1ns is negative": {ZombiePeriod: -1}, "Timeout: -1ns is negative": {Timeout: -1},
	} {
		if _, err := NewComputation(rt, cfg); err == nil || !strings.Contains(err.Error(), "ComputationConfig."+says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
	for says, cfg := range map[string]SchedulerConfig{
		"PingInterval: 9s is less than": {PingInterval: 9 * time.Second}, "PingInterval: UDPPort is -1": {PingInterval: time.Minute, Config: Config{UDPPort: -1}},
		`Nodes: `: {Nodes: []string{"nowhere"}}, "PingInterval: -1s is less": {PingInterval: -time.Second},
	} {
		if _, err := NewScheduler(cfg); err == nil || !strings.Contains(err.Error(), "SchedulerConfig."+says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
}

// TestScheduleFindsPeers has clients schedule as soon as they are made: the scheduler is one of their Peers, or on the local network,
// where they were told to look, and no link to it is up yet.
func TestScheduleFindsPeers(t *testing.T) {
	inMemory(t, 1, SchedulerConfig{}, NodeConfig{}, func(c *memCluster) {
		for name, cfg := range map[string]Config{
			"a peer":       {Peers: []string{"nobody:1", c.sched.Location().String()}},
			"discovery":    {DiscoverPeers: true},
			"told of none": {},
		} {
			cfg.Name, cfg.host, cfg.Logger = name, c.net.Host(name), discard
			rt, err := NewRuntime(cfg)
			if err != nil {
				t.Fatal(err)
			}
			p, err := NewComputation(rt)
			if err != nil {
				t.Fatal(err)
			}
			err = p.Schedule(c.ctx)
			if name == "told of none" {
				if !errors.Is(err, ErrNotFound) {
					t.Errorf("%s: Schedule returned %v", name, err)
				}
			} else if err = errors.Join(err, p.Close(c.ctx)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if err := rt.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestScheduleBesideDeadPeers has the first of Config.Peers drop all that it is sent: a scheduler is found no later for that.
func TestScheduleBesideDeadPeers(t *testing.T) {
	inMemory(t, 1, SchedulerConfig{}, NodeConfig{}, func(c *memCluster) {
		dead := []string{c.client("dead").Location().String(), c.client("gone").Location().String()}
		c.net.Host("dead").Cut()
		c.net.Host("gone").Cut()
		for name, cfg := range map[string]Config{
			"a peer":       {Peers: append(dead, c.sched.Location().String())},
			"discovery":    {Peers: dead, DiscoverPeers: true},
			"told of none": {Peers: dead},
		} {
			for verb, schedule := range map[string]func(p *Computation) error{
				"Schedule":               func(p *Computation) error { return p.Schedule(c.ctx) },
				"NewRemoteCoroScheduler": func(p *Computation) error { _, err := NewRemoteCoroScheduler(p); return err },
			} {
				cfg.Name, cfg.host, cfg.Logger = name, c.net.Host(name), discard
				rt, err := NewRuntime(cfg)
				if err != nil {
					c.Fatal(err)
				}
				p, err := NewComputation(rt)
				if err != nil {
					c.Fatal(err)
				}
				start := time.Now()
				err = schedule(p)
				took := time.Since(start)
				switch {
				case name != "told of none":
					if err = errors.Join(err, p.Close(c.ctx)); err != nil || took > 2*time.Second {
						c.Errorf("%s, %s: %v, after %v", name, verb, err, took)
					}
				case err == nil || !strings.Contains(err.Error(), dead[1]) && verb == "Schedule" || took > rt.cfg.MsgTimeout+time.Second:
					c.Errorf("%s, %s: %v, after %v", name, verb, err, took)
				}
				if err := rt.Close(); err != nil {
					c.Error(err)
				}
			}
		}
	})
}
