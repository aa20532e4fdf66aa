package discoro

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/wire"
)

// unheardLarge returns a result that does not fit into the buffers of a connection that nobody
// reads.
var unheardLarge = Register("unheard.large", func(_ *Coro, n int) ([]byte, error) {
	return bytes.Repeat([]byte{byte(n)}, n), nil
})

// frozenRuns are runs that have started and ended at a server while their client received nothing
// of that.
type frozenRuns struct {
	*memCluster

	client *Runtime
	comp   *Computation
	began  time.Time // when the client and the server were cut off from each other
	ends   chan frozenEnd
	verbs  int
}

// frozenEnd is how a verb has ended.
type frozenEnd struct {
	verb string
	err  error
}

const frozenLarge = 6 << 20

// freeze cuts a client off from its only server, and lets runs end there.
func (c *memCluster) freeze(cfg ComputationConfig) *frozenRuns {
	f := &frozenRuns{memCluster: c, client: c.client("c"), ends: make(chan frozenEnd, 10)}
	f.comp = c.schedule(f.client, 1, cfg)
	s, err := NewRemoteCoroScheduler(f.comp)
	if err != nil {
		c.Fatal(err)
	}
	servers, err := f.comp.Servers(c.ctx)
	if err != nil {
		c.Fatal(err)
	}
	result := func(co *Coro, err error) error {
		if err != nil {
			return err
		}
		b, err := Result[[]byte](c.ctx, co)
		return frozenResult(b, err)
	}
	t := unheardLarge.With(frozenLarge)
	verbs := map[string]func() error{
		"Run":          func() error { return result(f.comp.Run(c.ctx, t)) },
		"RunAt server": func() error { return result(f.comp.RunAt(c.ctx, servers[0], t)) },
		"RunAt node":   func() error { return result(f.comp.RunAt(c.ctx, NodeAddr(c.nodes[0].Location().String()), t)) },
		"RunEach": func() error {
			cs, err := f.comp.RunServers(c.ctx, t)
			if err == nil && len(cs) == 1 {
				return result(cs[0], nil)
			}
			return errors.Join(err, errors.New("of RunServers"))
		},
		"AsCompleted": func() error { // a whole map would wait for a server before it reads on
			for out := range AsCompleted(c.ctx, s, unheardLarge, slices.Values([]int{frozenLarge})) {
				return frozenResult(out.Value, out.Err)
			}
			return errors.New("there is no outcome")
		},
	}
	synctest.Wait()
	hostOf(f.client).CutFrom(hostOf(c.nodes[0].rt))
	f.began, f.verbs = time.Now(), len(verbs)
	for verb, do := range verbs {
		go func() { f.ends <- frozenEnd{verb, do()} }()
	}
	synctest.Wait()
	if n := len(f.ends); n > 0 {
		c.Fatalf("%d runs have ended though nothing can be heard: %v", n, <-f.ends)
	}
	if jobs := c.jobsAtScheduler(); jobs > 0 {
		c.Fatalf("%d runs have not ended at the server", jobs)
	}
	return f
}

// frozenResult compares a result with the expected one.
func frozenResult(b []byte, err error) error {
	if err == nil && len(b) != frozenLarge {
		return fmt.Errorf("a result of %d bytes", len(b))
	}
	return err
}

func (c *memCluster) jobsAtScheduler() int {
	return c.sched.loop.counts().Jobs
}

// next returns how a verb has ended. It waits that long for it.
func (f *frozenRuns) next(within time.Duration) frozenEnd {
	f.Helper()
	select {
	case e := <-f.ends:
		return e
	case <-time.After(within):
		f.Fatalf("after %v a run has still not ended", time.Since(f.began))
		panic("not reached")
	}
}

// unheardDead is how long a link may be silent in these tests before it counts as dead.
const unheardDead = link.MissedPulses * 2 * MinPulseInterval

// start calls do in a goroutine. Its error comes over the channel.
func (f *frozenRuns) start(do func(f *frozenRuns) error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- do(f) }()
	return done
}

// unheardCloses are the ways in which a server, or a party between it and the client, ends: in
// order, or silently.
var unheardCloses = map[string]struct {
	node NodeConfig
	comp ComputationConfig
	do   func(f *frozenRuns) error
	heal bool // if the cut ends in time, results come
	soon bool // the end does not wait for the client
	lost bool // the runs end with a ServerLostError
}{
	"the node drains": {
		do:   func(f *frozenRuns) error { return f.nodes[0].Drain(f.ctx) },
		heal: true, lost: true,
	},
	"the node closes the computation": {
		do:   func(f *frozenRuns) error { return f.nodes[0].CloseComputation(f.ctx) },
		soon: true, lost: true,
	},
	"the node's hours end": {
		node: NodeConfig{ServiceStart: "00:00", ServiceEnd: "00:01", Config: Config{tuning: tuning{now: func() time.Time { return time.Now().UTC() }}}},
		do:   func(*frozenRuns) error { <-time.After(time.Minute); return nil },
		heal: true, lost: true,
	},
	"the node is idle": {
		node: NodeConfig{ZombiePeriod: 10 * time.Second},
		do:   func(*frozenRuns) error { <-time.After(11 * time.Second); return nil },
		heal: true, lost: true,
	},
	"the node closes": {
		do:   func(f *frozenRuns) error { return f.nodes[0].Close() },
		soon: true, lost: true,
	},
	"the server is killed": {
		do: func(f *frozenRuns) error {
			for _, loc := range f.nodes[0].Servers() {
				return f.nodes[0].killServer(loc)
			}
			return nil
		},
		soon: true, lost: true,
	},
	"the node is lost": {
		do: func(f *frozenRuns) error {
			for _, rt := range append(f.nodes[0].loop.hosted.all(), f.nodes[0].rt) {
				rt.net.Sever(errors.New("killed"))
			}
			return nil
		},
		soon: true, lost: true,
	},
	"the scheduler closes":  {do: func(f *frozenRuns) error { return f.sched.Close() }, soon: true},
	"the scheduler is lost": {do: func(f *frozenRuns) error { f.sched.net.Sever(errors.New("killed")); return nil }, soon: true},
	"the scheduler closes the computation": {
		do: func(f *frozenRuns) error {
			f.sched.loop.closeActive(func() {})
			return nil
		},
		soon: true,
	},
	"the computation closes": {do: func(f *frozenRuns) error { return f.comp.Close(f.ctx) }, soon: true},
	"the computation is idle": {
		comp: ComputationConfig{ZombiePeriod: 10 * time.Second},
		do:   func(*frozenRuns) error { <-time.After(11 * time.Second); return nil }, soon: true,
	},
	"the node drains, and then the computation closes": {
		do: func(f *frozenRuns) error {
			drained := make(chan error, 1)
			go func() { drained <- f.nodes[0].Drain(f.ctx) }()
			synctest.Wait()
			err := f.comp.Close(f.ctx)
			return errors.Join(err, <-drained)
		},
		soon: true,
	},
	"the node drains, and then closes": {
		do: func(f *frozenRuns) error {
			ctx, cancel := context.WithTimeout(f.ctx, time.Second)
			defer cancel()
			if err := f.nodes[0].Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
				return fmt.Errorf("drain: %w", err)
			}
			return f.nodes[0].Close()
		},
		soon: true, lost: true,
	},
	"the client is cut off from all, and the node drains": {
		do: func(f *frozenRuns) error {
			hostOf(f.client).Cut()
			return f.nodes[0].Drain(f.ctx)
		},
		heal: true,
	},
	"nobody does anything": {do: func(*frozenRuns) error { return nil }, heal: true, lost: true},
}

// TestUnheardRunsEnd lets runs start and end at a server while the client, whose scheduler is in
// another runtime, receives nothing of that. Then each party ends, in order or silently. Each wait
// ends with an error that says why.
func TestUnheardRunsEnd(t *testing.T) {
	t.Parallel()
	for name, tt := range unheardCloses {
		t.Run(name, func(t *testing.T) {
			tt.node.Servers = 1
			inMemory(t, 1, SchedulerConfig{}, tt.node, func(c *memCluster) {
				f := c.freeze(tt.comp)
				done := f.start(tt.do)
				limit := unheardDead + 2*time.Second
				if tt.soon {
					limit = 20 * time.Second // the zombie period is 10 s; nobody waits for the silence of the client's link
				}
				for range f.verbs {
					e := f.next(limit - time.Since(f.began))
					var lost *ServerLostError
					switch {
					case tt.lost && (!errors.As(e.err, &lost) || lost.Func != "unheard.large"):
						t.Errorf("%s ended with %v, and not for a lost server", e.verb, e.err)
					case !tt.lost && !errors.Is(e.err, ErrDisconnected) && !errors.Is(e.err, ErrClosed) && !errors.Is(e.err, ErrTerminated):
						t.Errorf("%s ended with %v", e.verb, e.err)
					}
				}
				if err := <-done; err != nil {
					t.Error(err)
				}
				if took := time.Since(f.began); took > limit {
					t.Errorf("it took %v", took)
				}
				c.net.Heal()
			})
		})
	}
}

// TestUnheardRunsAreHeard does the same, but ends the cut before anybody takes the silence for the
// end of a link. A party that ends in order has waited for that, so no result is lost.
func TestUnheardRunsAreHeard(t *testing.T) {
	t.Parallel()
	for name, tt := range unheardCloses {
		if !tt.heal {
			continue
		}
		t.Run(name, func(t *testing.T) {
			tt.node.Servers = 1
			inMemory(t, 1, SchedulerConfig{}, tt.node, func(c *memCluster) {
				f := c.freeze(tt.comp)
				done := f.start(tt.do)
				<-time.After(unheardDead - 5*time.Second - time.Since(f.began))
				if n := len(f.ends); n > 0 {
					t.Fatalf("%d runs have ended: %v", n, <-f.ends)
				}
				c.net.Heal()
				for range f.verbs {
					if e := f.next(time.Second); e.err != nil {
						t.Errorf("%s: %v", e.verb, e.err)
					}
				}
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestUnheardRunsEndInEachOrder ends two parties, one a second after the other, in each order.
func TestUnheardRunsEndInEachOrder(t *testing.T) {
	t.Parallel()
	names := []string{
		"the node closes the computation", "the server is killed", "the scheduler closes the computation", "the scheduler is lost",
		"the computation closes",
	}
	for _, first := range names {
		for _, second := range names {
			if first == second {
				continue
			}
			t.Run(first+", then "+second, func(t *testing.T) {
				inMemory(t, 1, SchedulerConfig{}, NodeConfig{Servers: 1}, func(c *memCluster) {
					f := c.freeze(ComputationConfig{})
					done := make(chan error, 2)
					go func() { done <- unheardCloses[first].do(f) }()
					<-time.After(time.Second)
					synctest.Wait()
					go func() { done <- unheardCloses[second].do(f) }()
					for range f.verbs {
						e := f.next(unheardDead + 2*time.Second - time.Since(f.began))
						if !errors.Is(e.err, ErrDisconnected) && !errors.Is(e.err, ErrClosed) && !errors.Is(e.err, ErrTerminated) {
							t.Errorf("%s ended with %v", e.verb, e.err)
						}
					}
					for range 2 {
						if err := <-done; err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrClosed) {
							t.Error(err)
						}
					}
					c.net.Heal()
				})
			})
		}
	}
}

// TestClientThatNeverAnswers drains a node whose link to the client never ends, and never brings an
// answer. The node does not wait for ever.
func TestClientThatNeverAnswers(t *testing.T) {
	inMemory(t, 1, SchedulerConfig{}, NodeConfig{Servers: 1}, func(c *memCluster) {
		f := c.freeze(ComputationConfig{})
		for _, rt := range f.nodes[0].loop.hosted.all() {
			rt.net.If(f.client.id).HeardPulse(wire.MaxPulse) // so that its silence does not count
		}
		start := time.Now()
		if err := f.nodes[0].Drain(c.ctx); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took < unheardDead || took > unheardDead+awaitFor+10*time.Second {
			t.Errorf("it drained for %v", took)
		}
		for range f.verbs {
			var lost *ServerLostError
			if e := f.next(time.Second); !errors.As(e.err, &lost) {
				t.Errorf("%s: %v", e.verb, e.err)
			}
		}
		c.net.Heal()
	})
}

// TestNodeDrainsBehindALostScheduler drains a node while nothing from the scheduler reaches the
// client. What the server sends is received; what only the scheduler could send ends with the link
// to it.
func TestNodeDrainsBehindALostScheduler(t *testing.T) {
	inMemory(t, 1, SchedulerConfig{}, NodeConfig{Servers: 1}, func(c *memCluster) {
		client := c.client("c")
		p := c.schedule(client, 1, ComputationConfig{})
		nap, err := p.Run(c.ctx, timesNap.With(30*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		hostOf(client).CutFrom(hostOf(c.sched.Runtime))
		start := time.Now()
		drained, never := make(chan error, 1), make(chan error, 1)
		go func() { drained <- c.nodes[0].Drain(c.ctx) }()
		go func() {
			_, err := p.Run(c.ctx, timesNap.With(0))
			never <- err
		}()
		if d, err := Result[time.Duration](c.ctx, nap); d != 30*time.Second || err != nil {
			t.Errorf("%v, %v", d, err)
		}
		if err := <-drained; err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took > 32*time.Second {
			t.Errorf("it drained for %v", took)
		}
		if err := <-never; !errors.Is(err, ErrDisconnected) {
			t.Errorf("a run that never came to the scheduler: %v", err)
		}
		if took := time.Since(start); took > unheardDead+2*time.Second {
			t.Errorf("it took %v", took)
		}
		c.net.Heal()
	})
}
