package discoro

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/discoro/discoro/wire"
)

// foreignFrames are what only nodes, servers and schedulers have to say, and answers to what nobody asked, as a client says them that knows its
// computation's token.
func foreignFrames(p *Computation) map[string][]wire.Frame {
	nap := wire.FuncCall{Func: timesNap.name, Arg: []byte{0x1b, 0, 0, 3, 0x46, 0x30, 0xb8, 0xa0, 0}} // an hour
	job := wire.JobID{Client: p.rt.id, Seq: 1 << 40}
	frames := map[string][]wire.Frame{
		"close":        {&wire.CloseServer{Token: p.token}},
		"close, over":  {&wire.CloseServer{Token: p.token, Over: true}},
		"release":      {&wire.Release{Token: p.token}},
		"released":     {&wire.Released{Token: p.token}},
		"heard":        {&wire.Heard{Token: p.token, Jobs: 1 << 60}},
		"server done":  {&wire.ServerDone{Token: p.token}},
		"start":        {&wire.Start{Token: p.token, Job: job, Call: nap}},
		"start, twice": {&wire.Start{Token: p.token, Job: job, Call: nap, Lane: 1}, &wire.Start{Token: p.token, Job: job, Call: nap, Lane: 2}},
	}
	large := bytes.Repeat([]byte{0xf6}, 64<<10)
	for call := range uint64(20) {
		frames["answers"] = append(frames["answers"], &wire.Reply{Call: call, Outcome: wire.Outcome{Body: large}})
	}
	for call := range uint64(1000) {
		frames["questions"] = append(frames["questions"], &wire.Locate{Call: 1<<40 + call})
	}
	return frames
}

// TestClientThatSpeaksForOthers has a client say all that to its servers, its node and its scheduler: the computation closes in time and the
// next has its turn, or the node drains in time, all the same.
func TestClientThatSpeaksForOthers(t *testing.T) {
	t.Parallel()
	for name := range foreignFrames(&Computation{rt: &Runtime{}}) {
		for _, drain := range []bool{false, true} {
			way := ", the computation closes"
			if drain {
				way = ", the node drains"
			}
			t.Run(name+way, func(t *testing.T) {
				inMemory(t, 1, SchedulerConfig{}, NodeConfig{}, func(c *memCluster) {
					client := c.client("c")
					p := c.schedule(client, 2, ComputationConfig{})
					for _, l := range client.net.All() {
						for _, f := range foreignFrames(p)[name] {
							l.Tell(f)
						}
					}
					synctest.Wait()
					var cancel context.CancelFunc
					c.ctx, cancel = context.WithTimeout(c.ctx, 10*time.Second)
					defer cancel()
					if drain {
						if err := c.nodes[0].Drain(c.ctx); err != nil {
							t.Error("drain: ", err)
						}
						return
					}
					if err := p.Close(c.ctx); err != nil {
						t.Error("close: ", err)
					}
					next := c.schedule(c.client("next"), 2, ComputationConfig{})
					if err := next.Close(c.ctx); err != nil {
						t.Error("the next: ", err)
					}
				})
			})
		}
	}
}
