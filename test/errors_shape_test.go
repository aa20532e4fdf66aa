package test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/discorotest"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/seam"
	"github.com/discoro/discoro/internal/testkit"
	"github.com/discoro/discoro/internal/testkit/live"
)

type shapeUnknown struct{ N int }

var (
	shapeBytes = discoro.Register("shape.bytes", func(_ *discoro.Coro, n int) ([]byte, error) { return make([]byte, n), nil })
	shapeFails = discoro.Register("shape.fails", func(_ *discoro.Coro, text string) (discoro.None, error) { return discoro.None{}, errors.New(text) })
	shapeAny   = discoro.Register("shape.any", func(_ *discoro.Coro, _ any) (any, error) { return shapeUnknown{1}, nil })
	shapeNap   = discoro.Register("shape.nap", func(c *discoro.Coro, d time.Duration) (discoro.None, error) { return discoro.None{}, c.Sleep(d) })
)

// shapeFault returns what is wrong with the text of an error, "" for nothing.
func shapeFault(text string) string {
	for line := range strings.SplitSeq(text, "\n") {
		switch {
		case strings.Count(line, fault.Prefix) > 1:
			return "it has the prefix twice"
		case strings.Contains(line, "%!"):
			return "its format is wrong"
		case strings.Contains(line, " :"), strings.Contains(line, "::"), strings.Contains(line, ": :"), strings.HasSuffix(strings.TrimSpace(line), ":"):
			return "something is missing beside a colon"
		case strings.Contains(line, "  "), strings.Contains(line, "<nil>"):
			return "something is missing"
		case shapeOne.MatchString(line):
			return "one of something is many"
		}
	}
	return ""
}

var shapeOne = regexp.MustCompile(`(?:^|[^f] )1 (servers|nodes|tasks|coroutines|locations|configurations|attempts)\b`)

// shapeChannel makes a channel.
func shapeChannel(t *testing.T, rt *discoro.Runtime) *discoro.Channel {
	t.Helper()
	ch, err := rt.NewChannel("news")
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// TestErrorsHaveShape does what users do wrong. Each error begins with "discoro: ", once, and names
// what it is about.
func TestErrorsHaveShape(t *testing.T) {
	t.Parallel()
	ctx := testkit.Context(t)
	over, cancel := context.WithCancel(ctx)
	cancel()
	soon := func(d time.Duration) context.Context {
		c, cancel := context.WithTimeout(ctx, d)
		t.Cleanup(cancel)
		return c
	}
	const small = 4 << 10
	sched, err := discoro.NewScheduler(discoro.SchedulerConfig{Config: discoro.Config{Name: "sched", UDPPort: -1, Logger: testkit.Quiet(), MaxMessage: small, MsgTimeout: 5 * time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sched.Close() })
	rt := sched.Runtime
	node, err := discoro.NewNode(discoro.NodeConfig{Servers: 1, Config: discoro.Config{UDPPort: -1, Logger: testkit.Quiet(), MaxMessage: small, Peers: []string{rt.Location().String()}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = node.Close() })
	other := live.RuntimeWith(t, discoro.Config{Name: "other", MaxMailbox: 1, MaxFileSize: 10})
	comp, err := discoro.NewComputation(rt)
	if err != nil {
		t.Fatal(err)
	}
	if err := comp.Schedule(ctx); err != nil {
		t.Fatal(err)
	}
	if err := comp.WaitServers(ctx, 1); err != nil {
		t.Fatal(err)
	}
	fresh := func() *discoro.Computation {
		p, err := discoro.NewComputation(rt)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	rcs, err := discoro.NewRemoteCoroScheduler(comp)
	if err != nil {
		t.Fatal(err)
	}
	handles := make(chan any, 1)
	inbox := rt.Spawn("inbox", func(c *discoro.Coro) (any, error) {
		for {
			h, err := c.Receive()
			if err != nil {
				return nil, err
			}
			handles <- h
		}
	})
	post := live.HandleAt(t, other, inbox)
	far := func(c *discoro.Coro) *discoro.Coro { // rt's handle of a coroutine of other
		live.Send(t, post, c)
		return testkit.Next(t, handles).(*discoro.Coro)
	}
	ended := other.Spawn("ended", func(*discoro.Coro) (any, error) { return "text", nil })
	_ = ended.Wait(ctx)
	full := other.Spawn("full", func(c *discoro.Coro) (any, error) { return nil, c.Sleep(time.Hour) })
	if err := full.Send("fills it"); err != nil {
		t.Fatal(err)
	}
	replies := rt.Spawn("replies", func(c *discoro.Coro) (any, error) {
		r, err := discoro.ReceiveAs[*discoro.Request](c)
		if err != nil {
			return nil, err
		}
		_ = r.Reply("text")
		return nil, r.Reply("again")
	})
	if _, err := discoro.Ask[string](ctx, replies, 1); err != nil {
		t.Fatal(err)
	}
	badReply := other.Spawn("replies badly", func(c *discoro.Coro) (any, error) {
		r, err := discoro.ReceiveAs[*discoro.Request](c)
		if err != nil {
			return nil, err
		}
		return nil, r.Reply(make(chan int))
	})
	_, _ = discoro.Ask[string](soon(time.Second), far(badReply), 1)
	inside := func(f func(c *discoro.Coro) error) error {
		return rt.Spawn("inside", func(c *discoro.Coro) (any, error) { return nil, f(c) }).Wait(ctx)
	}
	own, closed := shapeChannel(t, rt), shapeChannel(t, rt)
	_ = closed.Close()
	others := shapeChannel(t, other)
	if err := others.Register("others"); err != nil {
		t.Fatal(err)
	}
	farOthers, err := rt.LocateChannel(ctx, "others", other.Location())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, make([]byte, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	nobody := discoro.Location{Addr: "127.0.0.1", Port: 1}
	run := func(task discoro.Task) error {
		c, err := comp.Run(ctx, task)
		if err == nil {
			err = c.Wait(ctx)
		}
		return err
	}
	server := func() discoro.Location { s, _ := comp.Servers(ctx); return s[0] }()
	second := func(_ any, err error) error { return err }

	for _, bad := range []struct {
		what  string
		err   error
		is    error // nil: any
		names string
	}{
		{"two configurations", second(discoro.NewRuntime(discoro.Config{}, discoro.Config{})), nil, "2 discoro.Config"},
		{"a negative timeout", second(discoro.NewRuntime(discoro.Config{MsgTimeout: -1})), nil, "Config.MsgTimeout"},
		{"a peer without a port", second(discoro.NewRuntime(discoro.Config{Peers: []string{"x"}})), nil, "Config.Peers"},
		{"a port that is taken", second(discoro.NewRuntime(discoro.Config{TCPPort: rt.Location().Port, UDPPort: -1, Logger: testkit.Quiet()})), nil, fmt.Sprint(rt.Location().Port)},
		{"a certificate that is not there", second(discoro.NewRuntime(discoro.Config{CertFile: "nowhere.pem", KeyFile: "k", CAFile: "c"})), nil, "nowhere.pem"},
		{"a short CA", second(discoro.NewRuntime(discoro.Config{CertFile: "nowhere.pem", KeyFile: "k"})), nil, "CAFile"},
		{"a network of a test, and processes", second(discoro.NewNode(discoro.NodeConfig{Processes: true, Config: discorotest.NewNetwork(t, true).At("x", discoro.Config{})})), nil, "network of a test"},
		{"bad hours", second(discoro.NewNode(discoro.NodeConfig{ServiceStart: "25:00"})), nil, "NodeConfig.ServiceStart"},
		{"bad ports", second(discoro.NewNode(discoro.NodeConfig{TCPPorts: []string{"9-7"}})), nil, "NodeConfig.TCPPorts"},
		{"a server without a node", second(discoro.NewServer()), nil, "ServerConfig.Node"},
		{"a bad ping", second(discoro.NewScheduler(discoro.SchedulerConfig{PingInterval: -1})), nil, "SchedulerConfig.PingInterval"},
		{"a location", second(discoro.ParseLocation("x")), nil, `"x"`},

		{"connect to nothing", second(rt.Connect(ctx, "")), nil, `""`},
		{"connect to nobody", second(rt.Connect(ctx, nobody.String())), discoro.ErrDisconnected, nobody.String()},
		{"connect to oneself", second(rt.Connect(ctx, rt.Location().String())), discoro.ErrRejected, rt.Location().String()},
		{"connect, over", second(rt.Connect(over, "127.0.0.1:2")), context.Canceled, "127.0.0.1:2"},
		{"disconnect nobody", rt.Disconnect(nobody), discoro.ErrNotFound, nobody.String()},
		{"discover, off", rt.Discover(ctx), discoro.ErrRejected, "UDPPort"},
		{"locate nobody", second(rt.Locate(ctx, "nobody")), discoro.ErrNotFound, `"nobody"`},
		{"locate at nobody", second(rt.Locate(ctx, "nobody", nobody)), discoro.ErrDisconnected, `"nobody"`},
		{"locate at no location", second(rt.Locate(ctx, "nobody", discoro.Location{})), discoro.ErrDisconnected, `"nobody"`},
		{"locate there", second(rt.Locate(ctx, "nobody", other.Location())), discoro.ErrNotFound, `"nobody"`},
		{"locate an empty name there", second(rt.Locate(ctx, "", other.Location())), discoro.ErrNotFound, `""`},
		{"locate a channel", second(rt.LocateChannel(ctx, "nobody", other.Location())), discoro.ErrNotFound, `"nobody"`},

		{"send what has no name", far(full).Send(shapeUnknown{1}), discoro.ErrTypeNotRegistered, "full/"},
		{"send what is no UTF-8", far(full).Send("\xff"), nil, "send []byte"},
		{"send what is too large", far(full).Send(make([]byte, small)), discoro.ErrTooLarge, "full/"},
		{"send what cannot travel", far(full).Send(make(chan int)), nil, "full/"},
		{"send to one that has ended", ended.Send(1), discoro.ErrNotFound, "ended/"},
		{"deliver to one that has ended", ended.Deliver(ctx, 1), discoro.ErrNotFound, "ended/"},
		{"deliver to one that has ended there", far(ended).Deliver(ctx, 1), discoro.ErrNotFound, "ended/"},
		{"deliver what has no name", far(full).Deliver(ctx, shapeUnknown{1}), discoro.ErrTypeNotRegistered, "full/"},
		{"deliver to a full one", full.Deliver(soon(20*time.Millisecond), 1), context.DeadlineExceeded, "full/"},
		{"deliver to a full one there", far(full).Deliver(soon(20*time.Millisecond), 1), context.DeadlineExceeded, "full/"},
		{"ask one that has ended", second(discoro.Ask[int](ctx, ended, 1)), discoro.ErrNotFound, "ended/"},
		{"ask one that has ended there", second(discoro.Ask[int](ctx, far(ended), 1)), discoro.ErrNotFound, "ended/"},
		{"ask what has no name", second(discoro.Ask[int](ctx, far(full), shapeUnknown{1})), discoro.ErrTypeNotRegistered, "full/"},
		{"ask a full one", second(discoro.Ask[int](soon(20*time.Millisecond), full, 1)), context.DeadlineExceeded, "full/"},
		{"ask a full one there", second(discoro.Ask[int](soon(20*time.Millisecond), far(full), 1)), context.DeadlineExceeded, "full/"},
		{"reply twice", replies.Wait(ctx), discoro.ErrExists, "reply"},
		{"reply what cannot travel", badReply.Wait(ctx), nil, "reply"},
		{"wait, over", full.Wait(over), context.Canceled, "full/"},
		{"wait there, over", far(full).Wait(over), context.Canceled, "full/"},
		{"a result of another type", second(discoro.Result[int](ctx, ended)), discoro.ErrType, "ended"},
		{"a result of another type there", second(discoro.Result[int](ctx, far(ended))), discoro.ErrNotFound, "has ended"},
		{"monitor without a watcher", full.Monitor(ctx, nil), discoro.ErrRejected, "full/"},
		{"monitor there without a watcher", far(full).Monitor(ctx, nil), discoro.ErrRejected, "full/"},
		{"register an empty name", full.Register(""), discoro.ErrRejected, "full/"},
		{"register one of elsewhere", far(full).Register("x"), discoro.ErrNotFound, "full/"},
		{"register one that has ended", ended.Register("x"), discoro.ErrNotFound, "ended/"},
		{"unregister", full.Unregister("x"), discoro.ErrNotFound, `"x"`},
		{"unregister one of elsewhere", far(full).Unregister("x"), discoro.ErrNotFound, `"x"`},
		{"receive nothing", inside(func(c *discoro.Coro) error { return second(c.ReceiveTimeout(0)) }), discoro.ErrTimeout, "receive"},
		{"receive another type", inside(func(c *discoro.Coro) error {
			_ = c.Send(1)
			return second(discoro.ReceiveAs[string](c))
		}), discoro.ErrType, "string"},
		{"ask oneself", inside(func(c *discoro.Coro) error { return second(discoro.Ask[int](c, c, 1)) }), discoro.ErrRejected, "inside/"},
		{"wait for oneself", inside(func(c *discoro.Coro) error { return c.Wait(c) }), discoro.ErrRejected, "inside/"},
		{"close it from inside", inside(func(*discoro.Coro) error { return rt.Close() }), discoro.ErrRejected, "inside/"},

		{"a channel without a name", second(rt.NewChannel("")), discoro.ErrRejected, "channel"},
		{"subscribe nobody", own.Subscribe(ctx, nil), discoro.ErrRejected, "news"},
		{"subscribe one of here that has ended", others.Subscribe(ctx, ended), discoro.ErrNotFound, "ended/"},
		{"subscribe one that has ended there", own.Subscribe(ctx, far(ended)), discoro.ErrNotFound, "ended/"},
		{"unsubscribe", own.Unsubscribe(ctx, far(full)), discoro.ErrNotFound, "full/"},
		{"subscribe to a closed one", closed.Subscribe(ctx, full), discoro.ErrClosed, "news"},
		{"send to a closed one", closed.Send(1), discoro.ErrClosed, "news"},
		{"send what has no name to a channel there", farOthers.Send(shapeUnknown{1}), discoro.ErrTypeNotRegistered, "news"},
		{"deliver to a channel, over", second(own.Deliver(over, 1, 99)), context.Canceled, "news"},
		{"deliver to a channel there, over", second(farOthers.Deliver(over, 1, 99)), context.Canceled, "news"},
		{"register a channel", own.Register(""), discoro.ErrRejected, "news"},
		{"register a channel there", farOthers.Register("x"), discoro.ErrNotFound, "news"},
		{"unregister a channel", own.Unregister("x"), discoro.ErrNotFound, `"x"`},

		{"no file", rt.SendFile(ctx, other.Location(), "nowhere"), os.ErrNotExist, "nowhere"},
		{"a folder", rt.SendFile(ctx, other.Location(), t.TempDir()), discoro.ErrRejected, "no regular file"},
		{"an empty path", rt.SendFile(ctx, other.Location(), ""), discoro.ErrRejected, "path is empty"},
		{"a folder above", rt.SendFile(ctx, other.Location(), file, discoro.FileOptions{Dir: "../x"}), discoro.ErrRejected, `"../x"`},
		{"a large file", rt.SendFile(ctx, other.Location(), file), discoro.ErrTooLarge, "MaxFileSize"},
		{"a file to nobody", rt.SendFile(ctx, nobody, file), discoro.ErrDisconnected, nobody.String()},
		{"a file, over", rt.SendFile(over, other.Location(), file), context.Canceled, file},
		{"two options", rt.SendFile(ctx, other.Location(), file, discoro.FileOptions{}, discoro.FileOptions{}), nil, "2 discoro.FileOptions"},
		{"delete no file", rt.DeleteFile(ctx, other.Location(), "nowhere"), discoro.ErrNotFound, "nowhere"},
		{"delete nothing", rt.DeleteFile(ctx, other.Location(), ""), discoro.ErrRejected, "name"},
		{"delete at nobody", rt.DeleteFile(ctx, nobody, "x"), discoro.ErrDisconnected, nobody.String()},

		{"a computation of nobody", second(discoro.NewComputation(nil)), nil, "runtime"},
		{"an empty function", second(discoro.NewComputation(rt, discoro.ComputationConfig{Functions: []string{""}})), nil, "Functions"},
		{"a file that is not there", second(discoro.NewComputation(rt, discoro.ComputationConfig{Files: []string{"nowhere"}})), os.ErrNotExist, "nowhere"},
		{"a filter that is none", second(discoro.NewComputation(rt, discoro.ComputationConfig{NodeFilters: []discoro.NodeFilter{{Addr: "("}}})), nil, "NodeFilters[0].Addr"},
		{"a pulse", second(discoro.NewComputation(rt, discoro.ComputationConfig{PulseInterval: 1})), nil, "PulseInterval"},
		{"schedule twice", comp.Schedule(ctx), discoro.ErrExists, "schedule"},
		{"schedule at two", fresh().Schedule(ctx, nobody, nobody), nil, "2 locations"},
		{"schedule at nobody", fresh().Schedule(ctx, nobody), discoro.ErrDisconnected, nobody.String()},
		{"schedule at no scheduler", fresh().Schedule(ctx, other.Location()), discoro.ErrNotFound, other.Location().String()},
		{"schedule, over", fresh().Schedule(soon(20 * time.Millisecond)), context.DeadlineExceeded, rt.Location().String()},
		{"not scheduled", fresh().WaitServers(ctx, 1), discoro.ErrClosed, "not scheduled"},
		{"run, not scheduled", second(fresh().Run(ctx, shapeBytes.With(1))), discoro.ErrClosed, "shape.bytes"},
		{"position, over", second(comp.Position(over)), context.Canceled, "position"},
		{"nodes, over", second(comp.Nodes(over)), context.Canceled, "nodes"},
		{"servers, over", second(comp.Servers(over)), context.Canceled, "servers"},
		{"two servers", comp.WaitServers(soon(20*time.Millisecond), 2), discoro.ErrNoServer, "2 servers"},
		{"run nothing", second(comp.Run(ctx, nil)), nil, "With"},
		{"run an empty call", second(comp.Run(ctx, discoro.Call[int]{})), nil, "With"},
		{"run no function", second(comp.Run(ctx, discoro.Func[int, int]{}.With(1))), nil, "Register"},
		{"run by no name", second(comp.Run(ctx, discoro.Named("", 1))), nil, "call by name"},
		{"run by a long name", second(comp.Run(ctx, discoro.Named(strings.Repeat("x", 1000), 1))), nil, "call by name"},
		{"run by a name that nobody has", run(discoro.Named("shape.byte", 1)), discoro.ErrNotRegistered, `"shape.byte"`},
		{"run by name with another type", run(discoro.Named("shape.bytes", "x")), discoro.ErrType, "shape.bytes"},
		{"run by name what cannot travel", run(discoro.Named("shape.bytes", make(chan int))), nil, "shape.bytes"},
		{"run with what has no name", run(shapeAny.With(shapeUnknown{1})), discoro.ErrTypeNotRegistered, "shape.any"},
		{"run with what is no UTF-8", run(shapeFails.With("\xff")), nil, "send []byte"},
		{"run with too much", run(discoro.Named("shape.bytes", make([]byte, small+1))), discoro.ErrTooLarge, "shape.bytes"},
		{"a result that is too large", run(shapeBytes.With(small)), discoro.ErrTooLarge, "shape.bytes"},
		{"a result of no name", func() error {
			c, err := comp.Run(ctx, discoro.Named("shape.any", 1))
			if err != nil {
				return err
			}
			return second(discoro.Result[any](ctx, c))
		}(), discoro.ErrTypeNotRegistered, "shape.any"},
		{"run at no place", second(comp.RunAt(ctx, nil, shapeBytes.With(1))), nil, "place"},
		{"run at an empty node", second(comp.RunAt(ctx, discoro.NodeAddr(""), shapeBytes.With(1))), discoro.ErrNotFound, "run at"},
		{"run at no location", second(comp.RunAt(ctx, discoro.Location{}, shapeBytes.With(1))), discoro.ErrNotFound, "run at"},
		{"run at nobody", second(comp.RunAt(ctx, nobody, shapeBytes.With(1))), discoro.ErrNotFound, nobody.String()},
		{"run at no node", second(comp.RunAt(ctx, discoro.NodeAddr("nowhere"), shapeBytes.With(1))), discoro.ErrNotFound, `"nowhere"`},
		{"run at each of nothing", second(comp.RunEach(ctx, 0, shapeBytes.With(1))), nil, "EachNode"},
		{"run at no node's servers", second(comp.RunNodeServers(ctx, "nowhere", shapeBytes.With(1))), discoro.ErrNotFound, `"nowhere"`},
		{"map with what cannot travel", second(discoro.MapResults(ctx, rcs, shapeFails, slices.Values([]string{"\xff"}))), nil, "send []byte"},
		{"execute, over", second(discoro.Execute(over, rcs, shapeBytes.With(1))), context.Canceled, "shape.bytes"},
		{"a scheduler of nothing", second(discoro.NewRemoteCoroScheduler(nil)), nil, "computation"},
		{"negative retries", second(discoro.NewRemoteCoroScheduler(comp, discoro.RCSConfig{Retries: -1})), nil, "Retries"},
		{"finish, one running", func() error {
			c, err := rcs.SubmitAt(ctx, server, shapeNap.With(time.Hour))
			if err != nil {
				return err
			}
			defer func() { _ = c.Terminate() }()
			return rcs.Finish(over, true)
		}(), context.Canceled, "1 task"},
		{"kill no server", seam.KillServer(node, nobody), discoro.ErrNotFound, nobody.String()},
		{"drain, over", func() error {
			c, err := comp.Run(ctx, shapeNap.With(time.Hour))
			if err != nil {
				return err
			}
			defer func() { _ = c.Terminate() }()
			return node.Drain(soon(20 * time.Millisecond))
		}(), context.DeadlineExceeded, "drain"},
	} {
		if bad.err == nil {
			t.Errorf("%s: no error", bad.what)
			continue
		}
		text := bad.err.Error()
		flaw := shapeFault(text)
		switch {
		case flaw != "":
		case !strings.HasPrefix(text, fault.Prefix):
			flaw = "it does not begin with " + fault.Prefix
		case !strings.Contains(text, bad.names):
			flaw = "it does not name " + bad.names
		case bad.is != nil && !errors.Is(bad.err, bad.is):
			flaw = "it is no " + bad.is.Error()
		}
		if flaw != "" {
			t.Errorf("%s: %s: %s", bad.what, flaw, text)
		}
	}
}
