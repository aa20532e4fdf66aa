package discoro

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/internal/testkit"
	"github.com/discoro/discoro/internal/testnet"
	"github.com/discoro/discoro/wire"
)

// What links and nodes do with time, in fake time; what a scheduler does is in sched_times_test.go.

// TestSilenceOfFivePulses shows to the tick when a link ends whose peer has gone silent.
func TestSilenceOfFivePulses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := testnet.NewInMemory()
		a, b, _, _ := hostedPair(t, n, Config{})
		la := upLink(t, a, b)
		<-time.After(25 * time.Second) // neither says anything but its pulses
		heard := time.Now().Add(-la.Conn().SilentFor(time.Now()))
		n.Host("b").Cut()
		_ = waitLong(la)
		const tick = 250 * time.Millisecond
		if silent := time.Since(heard); silent <= link.MissedPulses*MinPulseInterval || silent > link.MissedPulses*MinPulseInterval+2*tick {
			t.Errorf("the link ended after %v of silence", silent)
		}
		if err := la.Cause(); !strings.Contains(err.Error(), "no sign of life") {
			t.Errorf("it ended with %v", err)
		}
		n.Heal()
		testkit.Eventually(t, "there is a link again", func() bool { l := a.net.If(b.id); return l != nil && l.IsUp() })
	})
}

// waitLong waits for the end of a link, however long that takes.
func waitLong(l *link.Link) error {
	<-l.Ended()
	return l.Cause()
}

// TestIdleHours has a link idle for hours.
func TestIdleHours(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b, c, got := hostedPair(t, testnet.NewInMemory(), Config{})
		la := upLink(t, a, b)
		before := a.Traffic().FramesSent
		const idle = 3 * time.Hour
		<-time.After(idle)
		if err := c.Send("still there?"); err != nil {
			t.Fatal(err)
		}
		if v := testkit.Next(t, got); v != "still there?" || la.Cause() != nil {
			t.Errorf("%v came; the link: %v", v, la.Cause())
		}
		const pulses = uint64(idle / MinPulseInterval)
		if frames := a.Traffic().FramesSent - before; frames > pulses+1 || frames < pulses*9/10 {
			t.Errorf("%d frames were sent in %v, of which one is a message; want a pulse every %v", frames, idle, MinPulseInterval)
		}
	})
}

// TestRedials has a peer that is away for hours: it is dialled ever more rarely, up to twice a minute, and found when it comes.
func TestRedials(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := testnet.NewInMemory()
		log := &testkit.Log{}
		a := testRuntime(t, Config{Name: "a", tuning: tuning{host: n.Host("a")}, Logger: log.Logger(), Peers: []string{"b:7"}})
		tries := func() int { return log.Count("cannot reach a peer") }
		<-time.After(time.Second)
		if n := tries(); n < 3 || n > 6 {
			t.Errorf("%d dials in the first second", n)
		}
		<-time.After(10 * time.Minute)
		before := tries()
		<-time.After(2 * time.Hour)
		if n := tries() - before; n < 2*60*3/2 || n > 2*60*3 {
			t.Errorf("%d dials in two hours, want about two a minute", n)
		}
		if n := log.Count("level=WARN"); n != 1 {
			t.Errorf("%d warnings", n)
		}
		b := testRuntime(t, Config{Name: "b", tuning: tuning{host: n.Host("b")}, TCPPort: 7})
		came := time.Now()
		for a.net.If(b.id) == nil {
			<-time.After(100 * time.Millisecond)
		}
		if took := time.Since(came); took > link.MostPeerPause*3/2+time.Second {
			t.Errorf("it was found after %v", took)
		}
		l := upLink(t, a, b)
		<-time.After(2 * link.MostPeerPause)
		n.Host("b").Break()
		broke := time.Now()
		_ = waitLong(l)
		testkit.Eventually(t, "there is a link again", func() bool { l := a.net.If(b.id); return l != nil && l.IsUp() })
		if took := time.Since(broke); took > time.Second { // it held for a while: from the start
			t.Errorf("it was found again after %v", took)
		}
	})
}

// TestDialGivesUp shows how long a dial takes that nothing answers.
func TestDialGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := testnet.NewInMemory()
		a := testRuntime(t, Config{tuning: tuning{host: n.Host("a")}})
		b := testRuntime(t, Config{tuning: tuning{host: n.Host("b")}})
		n.Host("b").Cut()
		start := time.Now()
		_, err := a.Connect(t.Context(), b.Location().String())
		if took := time.Since(start); !errors.Is(err, ErrDisconnected) || took != DefaultMsgTimeout {
			t.Errorf("after %v: %v", took, err)
		}
	})
}

// TestBusyPeer has many dial at once where each is hung up on without a word: they come again at times of their own.
func TestBusyPeer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const dialers = 20
		n := testnet.NewInMemory()
		ln, port, err := n.Host("busy").Listen("busy", "busy", 0)
		if err != nil {
			t.Fatal(err)
		}
		start, at, all := time.Now(), map[time.Duration]int{}, make(chan struct{})
		go func() {
			defer close(all)
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				at[time.Since(start)]++
				_ = c.Close()
			}
		}()
		var wg sync.WaitGroup
		for i := range dialers {
			rt := testRuntime(t, Config{tuning: tuning{host: n.Host(fmt.Sprint("dialer", i))}})
			wg.Go(func() {
				if _, err := rt.Connect(t.Context(), Location{"busy", port}.String()); !errors.Is(err, ErrDisconnected) {
					t.Errorf("Connect: %v", err)
				}
			})
		}
		wg.Wait()
		_ = ln.Close()
		<-all
		if at[0] != dialers || len(at) < dialers*(link.BusyTries-1) {
			t.Errorf("%d came at once, and all at %d times: %v", at[0], len(at), at)
		}
	})
}

// TestRestartPauses kills the servers of a node whenever one is up, until the pauses are as long as
// they get. A server that has lived for a while is replaced at once.
func TestRestartPauses(t *testing.T) {
	inMemory(t, 1, SchedulerConfig{}, NodeConfig{Servers: 1}, func(c *memCluster) {
		node := c.nodes[0]
		up := func() Location {
			for {
				if servers := node.Servers(); len(servers) == 1 {
					return servers[0]
				}
				<-time.After(10 * time.Millisecond)
			}
		}
		kill := func() (pause time.Duration) {
			t.Helper()
			old := up()
			if err := node.killServer(old); err != nil {
				t.Fatal(err)
			}
			killed := time.Now()
			for up() == old {
				<-time.After(10 * time.Millisecond)
			}
			return time.Since(killed)
		}
		for fails := range 13 {
			want := restartPause(fails)
			if pause := kill(); pause < want || pause > want+30*time.Millisecond {
				t.Errorf("after %d that were killed at once, the next came after %v, want %v", fails, pause, want)
			}
		}
		<-time.After(aWhile + time.Second)
		if pause := kill(); pause > 30*time.Millisecond {
			t.Errorf("after one that had lived, the next came after %v", pause)
		}
		if err := node.killServer(Location{Addr: "nowhere", Port: 1}); !errors.Is(err, ErrNotFound) {
			t.Errorf("no server there: %v", err)
		}
	})
}

// TestPulseIsAnnouncedAtOnce cuts a node off right when a computation with short pulses has its servers.
func TestPulseIsAnnouncedAtOnce(t *testing.T) {
	inMemory(t, 1, SchedulerConfig{}, NodeConfig{MinPulseInterval: time.Second}, func(c *memCluster) {
		comp := c.schedule(c.sched.Runtime, 2, ComputationConfig{PulseInterval: time.Second})
		co, err := comp.Run(c.ctx, timesNap.With(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // no time passes
		c.net.Host("n1").Cut()
		cut := time.Now()
		var lost *ServerLostError
		if err := co.Wait(c.ctx); !errors.As(err, &lost) {
			t.Errorf("it ended with %v", err)
		}
		if took := time.Since(cut); took > link.MissedPulses*time.Second+time.Second {
			t.Errorf("it was noticed after %v", took)
		}
	})
}

// TestCloseExplains cuts off a node while its computation closes. The log says what Close waits
// for, until the node is given up.
func TestCloseExplains(t *testing.T) {
	inMemory(t, 2, SchedulerConfig{}, NodeConfig{}, func(c *memCluster) {
		log := &testkit.Log{}
		rt := testRuntime(c.T, Config{Name: "client", tuning: tuning{host: c.net.Host("client")}, Logger: log.Logger()})
		p := c.schedule(rt, 4, ComputationConfig{})
		c.net.Host("n1").Cut()
		if err := p.Close(c.ctx); err != nil {
			t.Error(err)
		}
		said, node := log.Count(`for="all servers to close"`), log.Count("node "+c.nodes[0].Location().String()+": closing")
		if said < 2 || node != said {
			t.Errorf("the log says %d times that Close waits, and %d times for what: %s", said, node, log)
		}
	})
}

// TestNodeHearsNoGhosts delivers frames of links whose end the node knows already, as their reader
// may lag behind that end. The node does not wait for such a peer.
func TestNodeHearsNoGhosts(t *testing.T) {
	inMemory(t, 1, SchedulerConfig{}, NodeConfig{}, func(c *memCluster) {
		loop := c.nodes[0].loop
		dead := loop.rt.net.To(wire.ID{}, link.Location{Addr: "gone", Port: 1}) // nobody has that identity: it has ended
		loop.put(linkEvent{link: dead, frame: &wire.Reserve{Token: wire.Token{1}}})
		loop.put(linkEvent{link: dead, frame: &wire.ServerUp{Index: -1}})
		synctest.Wait()
		loop.do(func(l *nodeLoop) {
			if l.serving != nil || len(l.slots) != 2 {
				c.Errorf("it serves %v with %d servers", l.serving, len(l.slots))
			}
		})
	})
}
