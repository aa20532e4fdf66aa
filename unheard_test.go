package discoro

import (
	"errors"
	"net"
	"testing"

	"github.com/discoro/discoro/wire"
)

var (
	unheardRan = make(chan int, 10)
	unheardRun = Register("unheard.run", func(_ *Coro, n int) (int, error) {
		unheardRan <- n
		return n, nil
	})
)

// TestUnheardRuns has runs begin and end at a server while nothing of that comes to the client, whose scheduler is elsewhere, and the link
// break then: they end as at any lost server.
func TestUnheardRuns(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	ln, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Skip("the client needs a second address: ", err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	quiet := Config{Addr: "127.0.0.1", UDPPort: -1, Logger: discard}
	sched, err := NewScheduler(SchedulerConfig{Config: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer sched.Close()
	at := quiet
	at.Peers = []string{sched.Location().String()}
	node, err := NewNode(NodeConfig{Config: at, Servers: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	at.ExtAddr, at.TCPPort = "127.0.0.2", port // the scheduler and the node come to the client by way of the proxy
	client := testRuntime(t, at)
	p := proxyAt(t, ln, Location{Addr: "127.0.0.1", Port: port})
	comp, err := NewComputation(client)
	if err != nil {
		t.Fatal(err)
	}
	if err := comp.Schedule(ctx, sched.Location()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = comp.Close(ctx) }()
	if err := comp.WaitServers(ctx, 1); err != nil {
		t.Fatal(err)
	}
	execute := func(n int) (int, error) {
		co, err := comp.Run(ctx, unheardRun.With(n))
		if err != nil {
			return 0, err
		}
		return Result[int](ctx, co)
	}
	if n, err := execute(1); n != 1 || err != nil {
		t.Fatalf("before: %d, %v", n, err)
	}
	<-unheardRan

	p.Freeze()
	results := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := execute(2)
			results <- err
		}()
		<-unheardRan
	}
	p.Cut()
	p.Thaw()
	for range 2 {
		var lost *ServerLostError
		if err := <-results; !errors.As(err, &lost) || lost.Func != "unheard.run" {
			t.Errorf("a run of which nothing was heard ended with %v", err)
		}
	}
	if err := comp.WaitServers(ctx, 1); err != nil {
		t.Error(err)
	}
	if n, err := execute(3); n != 3 || err != nil {
		t.Errorf("after: %d, %v", n, err)
	}
}

// TestServerAsksWhatIsHeard has a server ask its client what it knows of, with an answer, and without.
func TestServerAsksWhatIsHeard(t *testing.T) {
	t.Parallel()
	server, client := twoRuntimes(t, Config{Addr: "127.0.0.1"})
	sched := testRuntime(t, Config{Addr: "127.0.0.1"})
	connect(t, server, sched.Location())
	c := &servedComp{client: upLink(t, server, client), scheduler: upLink(t, server, sched)}
	c.freed.Store(3)
	c.asking.Store(true)
	c.askHeard()
	eventually(t, "the client has answered", func() bool { return !c.asking.Load() })
	if c.heard != 3 {
		t.Errorf("of 3 jobs it knows of %d", c.heard)
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	eventually(t, "the link is down", func() bool { return c.client.cause() != nil })
	c.freed.Store(4)
	c.asking.Store(true)
	c.askHeard()
	if c.heard != 3 || !c.asking.Load() {
		t.Errorf("without an answer it knows of %d", c.heard)
	}
}

// TestEndWithoutBeginning has a server, or a scheduler, tell of ends of runs that never began: whoever waits for the coroutine hears
// an error, and gets none that is nil.
func TestEndWithoutBeginning(t *testing.T) {
	t.Parallel()
	rt := testRuntime(t, Config{})
	comp, err := NewComputation(rt)
	if err != nil {
		t.Fatal(err)
	}
	for name, frame := range map[string]func(id wire.JobID){
		"a result":   func(id wire.JobID) { rt.jobDone(&wire.Done{Token: comp.token, Job: id}) },
		"no failure": func(id wire.JobID) { rt.jobUnheard(&wire.Unheard{Token: comp.token, Job: id}) },
	} {
		j := comp.newJob(&callSpec{fn: "some.run"})
		frame(j.id)
		if c, err := comp.awaitStart(testContext(t), j); c != nil || !errors.Is(err, ErrDisconnected) {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
}
