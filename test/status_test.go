package test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/internal/testkit"
)

// statusLog is a status coroutine that keeps what it receives, until ComputationClosed, and returns
// that.
func statusLog(rt *discoro.Runtime) *discoro.Coro {
	return rt.Spawn("status-log", func(c *discoro.Coro) (any, error) {
		var log []any
		for {
			msg, err := c.Receive()
			if err != nil {
				return log, err
			}
			log = append(log, msg)
			if st, ok := msg.(discoro.Status); ok && st.Kind == discoro.ComputationClosed {
				if msg, err := c.ReceiveTimeout(0); err == nil {
					log = append(log, msg) // nothing may follow
				}
				return log, nil
			}
		}
	})
}

// statusKinds returns the kinds of messages, without repeats in a row; an Exit is "Exit".
func statusKinds(log []any) []string {
	var kinds []string
	for _, msg := range log {
		switch msg := msg.(type) {
		case discoro.Status:
			kinds = append(kinds, msg.Kind.String())
		case discoro.Exit:
			kinds = append(kinds, "Exit")
		}
	}
	return slices.Compact(kinds)
}

// checkStatusOrder checks that messages came in the order that Status promises.
func checkStatusOrder(t *testing.T, log []any) {
	t.Helper()
	seen := map[any]discoro.StatusKind{}
	fail := func(msg any, why string) { t.Errorf("%v %s; all of it: %v", msg, why, log) }
	for i, msg := range log {
		if e, ok := msg.(discoro.Exit); ok {
			if seen[e.Coro] != discoro.CoroCreated {
				fail(msg, "comes before CoroCreated")
			}
			delete(seen, e.Coro)
			continue
		}
		st, _ := msg.(discoro.Status)
		var about any = st.Node
		if !st.Server.IsZero() {
			about = st.Server
		}
		switch before := seen[about]; st.Kind { //nolint:exhaustive // the others may come at any time
		case discoro.NodeDiscovered:
		case discoro.ServerDiscovered:
			if seen[st.Node] == 0 {
				fail(st, "comes before its node")
			}
		case discoro.NodeInitialized:
			if before != discoro.NodeDiscovered {
				fail(st, "comes before NodeDiscovered")
			}
		case discoro.ServerInitialized:
			if before != discoro.ServerDiscovered || seen[st.Node] != discoro.NodeInitialized {
				fail(st, "comes before ServerDiscovered or NodeInitialized")
			}
		case discoro.CoroCreated:
			if before != discoro.ServerInitialized && before != discoro.ServerDisconnected || st.Node == "" {
				fail(st, "comes before ServerInitialized, or without its node")
			}
			seen[st.Coro.Coro] = st.Kind
			continue
		case discoro.NodeClosed:
			for about, kind := range seen {
				if _, ok := about.(discoro.Location); ok && kind == discoro.ServerInitialized {
					fail(st, "comes before its servers")
				}
			}
		case discoro.ComputationClosed:
			if i != len(log)-1 {
				fail(st, "is not last")
			}
		default:
		}
		seen[about] = st.Kind
	}
	for about, kind := range seen {
		if kind == discoro.CoroCreated {
			t.Errorf("no Exit of %v", about)
		}
	}
}

func TestStatusOrder(t *testing.T) {
	t.Parallel()
	for name, remote := range map[string]bool{"private scheduler": false, "scheduler elsewhere": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, discoro.NodeConfig{Servers: 2})
			rt := c.sched.Runtime
			if remote {
				rt = c.newClient()
			}
			for range 3 { // each with fresh servers, at once
				status := statusLog(rt)
				comp, err := discoro.NewComputation(rt, discoro.ComputationConfig{Status: status})
				if err != nil {
					t.Fatal(err)
				}
				if err := comp.Schedule(c.ctx, c.sched.Location()); err != nil {
					t.Fatal(err)
				}
				if err := comp.WaitServers(c.ctx, 2); err != nil {
					t.Fatal(err)
				}
				for i := range 20 {
					if _, err := comp.Run(c.ctx, double.With(i)); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := comp.Run(c.ctx, faultNap.With(3600_000)); err != nil {
					t.Fatal(err)
				}
				if err := comp.Close(c.ctx); err != nil {
					t.Fatal(err)
				}
				log, err := discoro.Result[[]any](c.ctx, status)
				if err != nil {
					t.Fatal(err)
				}
				checkStatusOrder(t, log)
				kinds := statusKinds(log)
				for _, kind := range []string{"NodeIgnore", "ServerIgnore", "ServerDisconnected", "NodeDisconnected"} {
					if slices.Contains(kinds, kind) {
						t.Errorf("%s in an ordinary run: %v", kind, log)
					}
				}
				if kinds[0] != "ComputationScheduled" || !slices.Contains(kinds, "NodeClosed") || !slices.Contains(kinds, "ServerClosed") {
					t.Errorf("%v", kinds)
				}
			}
		})
	}
}

func TestStatusOfLostServer(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 1, Processes: true})
	status := statusLog(c.sched.Runtime)
	comp := c.computation(1, discoro.ComputationConfig{Status: status})
	server := c.server(comp)
	pid := clusterRunAt(c, comp, server, faultPid.With(discoro.None{}))
	co, err := comp.Run(c.ctx, faultNap.With(3600_000))
	if err != nil {
		t.Fatal(err)
	}
	if err := testkit.Kill(pid); err != nil {
		t.Fatal(err)
	}
	var lost *discoro.ServerLostError
	if err := co.Wait(c.ctx); !errors.As(err, &lost) || lost.Server != server {
		t.Errorf("the lost job ended with %v", err)
	}
	c.awaitOther(comp, server)
	if err := comp.Close(c.ctx); err != nil {
		t.Fatal(err)
	}
	log, err := discoro.Result[[]any](c.ctx, status)
	if err != nil {
		t.Fatal(err)
	}
	checkStatusOrder(t, log)
	exits, gone := 0, 0
	for _, msg := range log {
		switch msg := msg.(type) {
		case discoro.Exit:
			if errors.As(msg.Err, &lost) {
				exits++
			}
		case discoro.Status:
			if msg.Kind == discoro.ServerDisconnected && msg.Server == server && msg.Reason != "" {
				gone++
			}
		}
	}
	if exits != 1 || gone != 1 {
		t.Errorf("%d Exits of the lost job, %d times ServerDisconnected: %v", exits, gone, log)
	}
}

func TestStatusNodeIgnored(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 1})
	status := statusLog(c.sched.Runtime)
	comp, err := discoro.NewComputation(c.sched.Runtime, discoro.ComputationConfig{Status: status, Functions: []string{"nobody.has.this"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := comp.Schedule(c.ctx); err != nil {
		t.Fatal(err)
	}
	c.poll("the node's reason", func() bool {
		return strings.Contains(c.reason(comp), `has not registered function "nobody.has.this"`)
	})
	if err := comp.Close(c.ctx); err != nil {
		t.Fatal(err)
	}
	log, err := discoro.Result[[]any](c.ctx, status)
	want := []string{"ComputationScheduled", "NodeDiscovered", "NodeIgnore", "ComputationClosed"}
	if kinds := statusKinds(log); err != nil || !slices.Equal(kinds, want) {
		t.Errorf("%v, %v", log, err)
	}
}
