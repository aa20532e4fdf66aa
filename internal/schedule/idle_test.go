package schedule

import (
	"strings"
	"testing"
	"time"

	"github.com/discoro/discoro/wire"
)

// after lets time pass, calls Tick at each Wake, and compares the effects.
func (b *bed) after(d time.Duration, want ...string) {
	b.Helper()
	s := b.state
	for until := s.now.Add(d); s.now.Before(until); {
		if s.now = until; !s.wake.IsZero() && s.wake.Before(until) {
			s.now = s.wake
		}
		if !s.wake.IsZero() && !s.now.Before(s.wake) {
			s.Tick(s.now)
		}
	}
	b.expect(d.String()+" later", want)
}

// submit returns the Submit of a computation with a zombie period.
func submit(n int, zombie time.Duration) *wire.Submit {
	return &wire.Submit{Call: 1, Token: token(n), Zombie: int64(zombie)}
}

func TestSchedIdleComputation(t *testing.T) {
	t.Parallel()
	const period = time.Minute
	b := newBed(t)
	b.state.now = time.Unix(1e9, 0)
	b.on(clientPeer(1), submit(1, period), "c1: ComputationScheduled", "c1: reply 1")
	b.on(clientPeer(2), submit(2, 0), "c2: queued 1")
	b.after(period - 1)
	b.on(nodePeer(1), offer(), "c1: NodeDiscovered node 1001", "n1: reserve")
	b.up(1, 1, true) // a server became ready: that counts as work
	b.after(period - 1)
	b.run(1, wire.Where{}, "s1: start 1")
	b.after(10 * period) // the run goes on
	b.on(serverPeer(1), &wire.Freed{Token: token(1), Job: jobID(1, 1)})
	b.after(period / 2)
	b.run(2, wire.Where{Node: "nobody"}, "c1: done 2 not found") // it was submitted: that counts, too
	b.after(period - 1)
	b.after(1, "n1: release")
	reason := ": nothing ran, and nothing was submitted, for 1m0s: its zombie period"
	b.run(3, wire.Where{}, "c1: done 3 closed")
	b.on(nodePeer(1), &wire.Released{Token: token(1)},
		"c1: ServerClosed node 1001 server 2001"+reason, "c1: NodeClosed node 1001"+reason, "c1: ComputationClosed"+reason,
		"c2: ComputationScheduled", "c2: reply 1", "c2: NodeDiscovered node 1001")
	b.after(1000 * period) // the next has no period
	if !b.state.wake.IsZero() {
		t.Error("nothing can become idle, and Wake is set")
	}
}

// TestSchedIdleSettingUp has a server receive the computation's files for longer than the zombie
// periods of computation and node: neither is idle meanwhile.
func TestSchedIdleSettingUp(t *testing.T) {
	t.Parallel()
	const period = time.Minute
	b := newBed(t)
	b.state.now = time.Unix(1e9, 0)
	b.on(clientPeer(1), submit(1, period), "c1: ComputationScheduled", "c1: reply 1")
	offer := offer()
	offer.Zombie = int64(period / 2)
	n := nodePeer(1)
	b.on(n, offer, "c1: NodeDiscovered node 1001", "n1: reserve")
	b.on(n, &wire.Servers{Token: token(1), Up: []wire.ServerInfo{serverInfo(1)}},
		"c1: ServerDiscovered node 1001 server 2001")
	b.after(10 * period)
	b.on(serverPeer(1), &wire.Ready{Token: token(1), Node: n.ID, Info: serverInfo(1)},
		"c1: NodeInitialized node 1001", "c1: ServerInitialized node 1001 server 2001")
	b.after(period/2 - 1)
	b.after(1, "n1: let go")
}

// TestSchedIdleWithoutServer closes a computation that never gets a node, and ends the run that waits.
func TestSchedIdleWithoutServer(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.on(clientPeer(1), submit(1, time.Minute), "c1: ComputationScheduled", "c1: reply 1")
	b.after(time.Second)
	b.run(1, wire.Where{})
	b.after(time.Minute-1, nil...)
	b.after(1, "c1: done 1 closed", "c1: ComputationClosed: nothing ran, and nothing was submitted, for 1m0s: its zombie period")
}

// TestSchedIdleNode releases idle nodes, each after its own period, and closes the computation with
// the last of them.
func TestSchedIdleNode(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.on(clientPeer(1), submit(1, 0), "c1: ComputationScheduled", "c1: reply 1")
	offer := func(zombie time.Duration) *wire.Offer { return &wire.Offer{Free: true, Zombie: int64(zombie)} }
	for n, zombie := range []time.Duration{time.Minute, time.Hour, 0} {
		name := string(rune('1' + n))
		b.on(nodePeer(n+1), offer(zombie), "c1: NodeDiscovered node 100"+name, "n"+name+": reserve")
		b.up(n+1, n+1, true)
	}
	b.run(1, wire.Where{Node: "h:1001"}, "s1: start 1")
	b.after(10 * time.Minute)
	b.on(serverPeer(1), &wire.Freed{Token: token(1), Job: jobID(1, 1)})
	b.on(serverPeer(1), &wire.Heard{Token: token(1), Jobs: 1})
	b.after(time.Minute-1, nil...)
	b.after(1, "n1: let go")
	// The computation goes on without it.
	b.run(2, wire.Where{Host: "h", Port: 2001}, "c1: done 2 no server")
	b.run(3, wire.Where{Node: "h:1001"}, "c1: done 3 not found")
	b.run(4, wire.Where{}, "s2: start 4")
	reason := ": nothing ran there for 1m0s: the node's zombie period"
	b.on(nodePeer(1), &wire.Released{Token: token(1)}, "c1: ServerClosed node 1001 server 2001"+reason,
		"c1: NodeClosed node 1001"+reason)
	b.on(nodePeer(1), offer(time.Minute)) // it is not reserved again for this computation
	if got := b.state.report(token(1), wire.JobID{}); !strings.Contains(got, "node h:1001: not used"+reason) {
		t.Errorf("report %q", got)
	}
	b.gone(nodePeer(3), "c1: ServerDisconnected node 1003 server 2003: its node is gone: cut",
		"c1: NodeDisconnected node 1003: cut")
	b.on(serverPeer(2), &wire.Freed{Token: token(1), Job: jobID(1, 4)})
	b.after(time.Hour, "n2: let go")
	reason = strings.Replace(reason, "1m0s", "1h0m0s", 1)
	b.on(nodePeer(2), &wire.Released{Token: token(1)},
		"c1: unheard 4 lost 2002", "c1: ServerClosed node 1002 server 2002"+reason, "c1: NodeClosed node 1002"+reason,
		"c1: ComputationClosed: its last node has left"+reason)
	b.on(clientPeer(2), submit(2, 0), "c2: ComputationScheduled", "c2: reply 1", "c2: NodeDiscovered node 1001",
		"n1: reserve", "c2: NodeDiscovered node 1002")
}

// TestSchedIdleNodeGone loses the last node while it leaves for idleness: that closes the computation,
// too.
func TestSchedIdleNodeGone(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.on(clientPeer(1), submit(1, 0), "c1: ComputationScheduled", "c1: reply 1")
	b.on(nodePeer(1), &wire.Offer{Free: true, Zombie: int64(time.Minute)}, "c1: NodeDiscovered node 1001", "n1: reserve")
	b.up(1, 1, true)
	b.after(time.Minute, "n1: let go")
	b.gone(nodePeer(1), "c1: ServerDisconnected node 1001 server 2001: its node is gone: cut",
		"c1: NodeDisconnected node 1001: cut",
		"c1: ComputationClosed: its last node has left: nothing ran there for 1m0s: the node's zombie period")
}

func TestZombiePeriods(t *testing.T) {
	t.Parallel()
	const usual = 1000 * time.Second
	own, other := wire.ID{1}, wire.ID{2}
	for _, tt := range []struct {
		cfg, asked  time.Duration
		own, others time.Duration
	}{
		{0, 0, 0, usual},
		{0, time.Minute, time.Minute, time.Minute},
		{0, time.Hour, time.Hour, usual},
		{-1, 0, 0, 0},
		{-1, time.Hour, time.Hour, time.Hour},
		{time.Minute, 0, time.Minute, time.Minute},
		{time.Minute, time.Hour, time.Minute, time.Minute},
		{time.Minute, time.Second, time.Second, time.Second},
	} {
		s := New(Config{Self: own, Zombies: PeriodsOf(tt.cfg, usual)})
		if o, e := s.zombiePeriod(own, tt.asked), s.zombiePeriod(other, tt.asked); o != tt.own || e != tt.others {
			t.Errorf("scheduler %v, computation %v: %v for its own and %v for others, want %v and %v", tt.cfg,
				tt.asked, o, e, tt.own, tt.others)
		}
	}
}

// TestSchedPulseBounds ignores a node that does not accept the computation's PulseInterval.
func TestSchedPulseBounds(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	offer := func() *wire.Offer {
		return &wire.Offer{Free: true, MinPulse: int64(10 * time.Second), MaxPulse: int64(100 * time.Second)}
	}
	submit := func(n int, pulse time.Duration) *wire.Submit {
		return &wire.Submit{Call: 1, Token: token(n), Pulse: int64(pulse)}
	}
	for _, pulse := range []time.Duration{-1, 1, wire.LeastPulse - 1, wire.MaxPulse + 1} {
		b.on(clientPeer(9), submit(9, pulse), "c9: reply 1 error")
	}
	b.on(clientPeer(9), &wire.Submit{Call: 1, Token: token(9), Zombie: -1}, "c9: reply 1 error")
	b.state.cfg.LeastPing = time.Second
	b.on(clientPeer(9), &wire.Submit{Call: 1, Token: token(9), Ping: int64(time.Second) - 1}, "c9: reply 1 error")
	b.on(clientPeer(1), submit(1, time.Second), "c1: ComputationScheduled", "c1: reply 1")
	b.on(nodePeer(1), offer(), "c1: NodeDiscovered node 1001",
		"c1: NodeIgnore node 1001: the computation's PulseInterval is 1s, and the node takes 10s to 1m40s")
	b.on(clientPeer(1), &wire.CloseComputation{Token: token(1)}, "c1: ComputationClosed")
	b.on(clientPeer(2), submit(2, 100*time.Second), "c2: ComputationScheduled", "c2: reply 1",
		"c2: NodeDiscovered node 1001", "n1: reserve")
	if pulse, ping := b.state.Intervals(); pulse != 100*time.Second || ping != 0 {
		t.Errorf("intervals %v, %v", pulse, ping)
	}
}
