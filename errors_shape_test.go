package discoro

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

	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/testnet"
)

type shapeUnknown struct{ N int }

var (
	shapeBytes = Register("shape.bytes", func(_ *Coro, n int) ([]byte, error) { return make([]byte, n), nil })
	shapeFails = Register("shape.fails", func(_ *Coro, text string) (None, error) { return None{}, errors.New(text) })
	shapeAny   = Register("shape.any", func(_ *Coro, _ any) (any, error) { return shapeUnknown{1}, nil })
	shapeNap   = Register("shape.nap", func(c *Coro, d time.Duration) (None, error) { return None{}, c.Sleep(d) })
)

// shapeFault says what is wrong with the text of an error; empty: nothing.
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

// TestErrorsHaveShape does what users do wrong: each error begins with "discoro: ", once, and names what it is about.
func TestErrorsHaveShape(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	over, cancel := context.WithCancel(ctx)
	cancel()
	soon := func(d time.Duration) context.Context {
		c, cancel := context.WithTimeout(ctx, d)
		t.Cleanup(cancel)
		return c
	}
	const small = 4 << 10
	sched, err := NewScheduler(SchedulerConfig{Config: Config{Name: "sched", UDPPort: -1, Logger: discard, MaxMessage: small, MsgTimeout: 5 * time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sched.Close() })
	rt := sched.Runtime
	node, err := NewNode(NodeConfig{Servers: 1, Config: Config{UDPPort: -1, Logger: discard, MaxMessage: small, Peers: []string{rt.Location().String()}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = node.Close() })
	other := testRuntime(t, Config{Name: "other", MaxMailbox: 1, MaxFileSize: 10})
	comp, err := NewComputation(rt)
	if err != nil {
		t.Fatal(err)
	}
	if err := comp.Schedule(ctx); err != nil {
		t.Fatal(err)
	}
	if err := comp.WaitServers(ctx, 1); err != nil {
		t.Fatal(err)
	}
	fresh := func() *Computation {
		p, err := NewComputation(rt)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	rcs, err := NewRemoteCoroScheduler(comp)
	if err != nil {
		t.Fatal(err)
	}
	ended := other.Spawn("ended", func(*Coro) (any, error) { return "text", nil })
	_ = ended.Wait(ctx)
	full := other.Spawn("full", func(c *Coro) (any, error) { return nil, c.Sleep(time.Hour) })
	if err := full.Send("fills it"); err != nil {
		t.Fatal(err)
	}
	far := func(c *Coro) *Coro { return coroThrough(rt, c, other.Location()) }
	replies := rt.Spawn("replies", func(c *Coro) (any, error) {
		r, err := ReceiveAs[*Request](c)
		if err != nil {
			return nil, err
		}
		_ = r.Reply("text")
		return nil, r.Reply("again")
	})
	if _, err := Ask[string](ctx, replies, 1); err != nil {
		t.Fatal(err)
	}
	badReply := other.Spawn("replies badly", func(c *Coro) (any, error) {
		r, err := ReceiveAs[*Request](c)
		if err != nil {
			return nil, err
		}
		return nil, r.Reply(make(chan int))
	})
	_, _ = Ask[string](soon(time.Second), far(badReply), 1)
	inside := func(f func(c *Coro) error) error {
		return rt.Spawn("inside", func(c *Coro) (any, error) { return nil, f(c) }).Wait(ctx)
	}
	own, closed := newChannel(t, rt), newChannel(t, rt)
	_ = closed.Close()
	others := newChannel(t, other)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, make([]byte, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	nobody := Location{"127.0.0.1", 1}
	run := func(task Task) error {
		c, err := comp.Run(ctx, task)
		if err == nil {
			err = c.Wait(ctx)
		}
		return err
	}
	server := func() Location { s, _ := comp.Servers(ctx); return s[0] }()
	second := func(_ any, err error) error { return err }

	for _, bad := range []struct {
		what  string
		err   error
		is    error // nil: any
		names string
	}{
		{"two configurations", second(NewRuntime(Config{}, Config{})), nil, "2 discoro.Config"},
		{"a negative timeout", second(NewRuntime(Config{MsgTimeout: -1})), nil, "Config.MsgTimeout"},
		{"a peer without a port", second(NewRuntime(Config{Peers: []string{"x"}})), nil, "Config.Peers"},
		{"a port that is taken", second(NewRuntime(Config{TCPPort: rt.Location().Port, UDPPort: -1, Logger: discard})), nil, fmt.Sprint(rt.Location().Port)},
		{"a certificate that is not there", second(NewRuntime(Config{CertFile: "nowhere.pem", KeyFile: "k", CAFile: "c"})), nil, "nowhere.pem"},
		{"a short CA", second(NewRuntime(Config{CertFile: "nowhere.pem", KeyFile: "k"})), nil, "CAFile"},
		{"a network of a test, and processes", second(NewNode(NodeConfig{Processes: true, Config: Config{tuning: tuning{host: testnet.NewInMemory().Host("x")}}})), nil, "network of a test"},
		{"bad hours", second(NewNode(NodeConfig{ServiceStart: "25:00"})), nil, "NodeConfig.ServiceStart"},
		{"bad ports", second(NewNode(NodeConfig{TCPPorts: []string{"9-7"}})), nil, "NodeConfig.TCPPorts"},
		{"a server without a node", second(NewServer()), nil, "ServerConfig.Node"},
		{"a bad ping", second(NewScheduler(SchedulerConfig{PingInterval: -1})), nil, "SchedulerConfig.PingInterval"},
		{"a location", second(ParseLocation("x")), nil, `"x"`},

		{"connect to nothing", second(rt.Connect(ctx, "")), nil, `""`},
		{"connect to nobody", second(rt.Connect(ctx, nobody.String())), ErrDisconnected, nobody.String()},
		{"connect to oneself", second(rt.Connect(ctx, rt.Location().String())), ErrRejected, rt.Location().String()},
		{"connect, over", second(rt.Connect(over, "127.0.0.1:2")), context.Canceled, "127.0.0.1:2"},
		{"disconnect nobody", rt.Disconnect(nobody), ErrNotFound, nobody.String()},
		{"discover, off", rt.Discover(ctx), ErrRejected, "UDPPort"},
		{"locate nobody", second(rt.Locate(ctx, "nobody")), ErrNotFound, `"nobody"`},
		{"locate at nobody", second(rt.Locate(ctx, "nobody", nobody)), ErrDisconnected, `"nobody"`},
		{"locate at no location", second(rt.Locate(ctx, "nobody", Location{})), ErrDisconnected, `"nobody"`},
		{"locate there", second(rt.Locate(ctx, "nobody", other.Location())), ErrNotFound, `"nobody"`},
		{"locate an empty name there", second(rt.Locate(ctx, "", other.Location())), ErrNotFound, `""`},
		{"locate a channel", second(rt.LocateChannel(ctx, "nobody", other.Location())), ErrNotFound, `"nobody"`},

		{"send what has no name", far(full).Send(shapeUnknown{1}), ErrTypeNotRegistered, "full/"},
		{"send what is no UTF-8", far(full).Send("\xff"), nil, "send []byte"},
		{"send what is too large", far(full).Send(make([]byte, small)), ErrTooLarge, "full/"},
		{"send what cannot travel", far(full).Send(make(chan int)), nil, "full/"},
		{"send to one that has ended", ended.Send(1), ErrNotFound, "ended/"},
		{"deliver to one that has ended", ended.Deliver(ctx, 1), ErrNotFound, "ended/"},
		{"deliver to one that has ended there", far(ended).Deliver(ctx, 1), ErrNotFound, "ended/"},
		{"deliver what has no name", far(full).Deliver(ctx, shapeUnknown{1}), ErrTypeNotRegistered, "full/"},
		{"deliver to a full one", full.Deliver(soon(20*time.Millisecond), 1), context.DeadlineExceeded, "full/"},
		{"deliver to a full one there", far(full).Deliver(soon(20*time.Millisecond), 1), context.DeadlineExceeded, "full/"},
		{"ask one that has ended", second(Ask[int](ctx, ended, 1)), ErrNotFound, "ended/"},
		{"ask one that has ended there", second(Ask[int](ctx, far(ended), 1)), ErrNotFound, "ended/"},
		{"ask what has no name", second(Ask[int](ctx, far(full), shapeUnknown{1})), ErrTypeNotRegistered, "full/"},
		{"ask a full one", second(Ask[int](soon(20*time.Millisecond), full, 1)), context.DeadlineExceeded, "full/"},
		{"ask a full one there", second(Ask[int](soon(20*time.Millisecond), far(full), 1)), context.DeadlineExceeded, "full/"},
		{"reply twice", replies.Wait(ctx), ErrExists, "reply"},
		{"reply what cannot travel", badReply.Wait(ctx), nil, "reply"},
		{"wait, over", full.Wait(over), context.Canceled, "full/"},
		{"wait there, over", far(full).Wait(over), context.Canceled, "full/"},
		{"a result of another type", second(Result[int](ctx, ended)), ErrType, "ended"},
		{"a result of another type there", second(Result[int](ctx, far(ended))), ErrNotFound, "has ended"},
		{"monitor without a watcher", full.Monitor(ctx, nil), ErrRejected, "full/"},
		{"monitor there without a watcher", far(full).Monitor(ctx, nil), ErrRejected, "full/"},
		{"register an empty name", full.Register(""), ErrRejected, "full/"},
		{"register one of elsewhere", far(full).Register("x"), ErrNotFound, "full/"},
		{"register one that has ended", ended.Register("x"), ErrNotFound, "ended/"},
		{"unregister", full.Unregister("x"), ErrNotFound, `"x"`},
		{"unregister one of elsewhere", far(full).Unregister("x"), ErrNotFound, `"x"`},
		{"receive nothing", inside(func(c *Coro) error { return second(c.ReceiveTimeout(0)) }), ErrTimeout, "receive"},
		{"receive another type", inside(func(c *Coro) error {
			_ = c.Send(1)
			return second(ReceiveAs[string](c))
		}), ErrType, "string"},
		{"ask oneself", inside(func(c *Coro) error { return second(Ask[int](c, c, 1)) }), ErrRejected, "inside/"},
		{"wait for oneself", inside(func(c *Coro) error { return c.Wait(c) }), ErrRejected, "inside/"},
		{"close it from inside", inside(func(*Coro) error { return rt.Close() }), ErrRejected, "inside/"},

		{"a channel without a name", second(rt.NewChannel("")), ErrRejected, "channel"},
		{"subscribe nobody", own.Subscribe(ctx, nil), ErrRejected, "news"},
		{"subscribe one of here that has ended", others.Subscribe(ctx, ended), ErrNotFound, "ended/"},
		{"subscribe one that has ended there", own.Subscribe(ctx, far(ended)), ErrNotFound, "ended/"},
		{"unsubscribe", own.Unsubscribe(ctx, far(full)), ErrNotFound, "full/"},
		{"subscribe to a closed one", closed.Subscribe(ctx, full), ErrClosed, "news"},
		{"send to a closed one", closed.Send(1), ErrClosed, "news"},
		{"send what has no name to a channel there", channelAt(rt, others).Send(shapeUnknown{1}), ErrTypeNotRegistered, "news"},
		{"deliver to a channel, over", second(own.Deliver(over, 1, 99)), context.Canceled, "news"},
		{"deliver to a channel there, over", second(channelAt(rt, others).Deliver(over, 1, 99)), context.Canceled, "news"},
		{"register a channel", own.Register(""), ErrRejected, "news"},
		{"register a channel there", channelAt(rt, others).Register("x"), ErrNotFound, "news"},
		{"unregister a channel", own.Unregister("x"), ErrNotFound, `"x"`},

		{"no file", rt.SendFile(ctx, other.Location(), "nowhere"), os.ErrNotExist, "nowhere"},
		{"a folder", rt.SendFile(ctx, other.Location(), t.TempDir()), ErrRejected, "no regular file"},
		{"an empty path", rt.SendFile(ctx, other.Location(), ""), ErrRejected, "path is empty"},
		{"a folder above", rt.SendFile(ctx, other.Location(), file, FileOptions{Dir: "../x"}), ErrRejected, `"../x"`},
		{"a large file", rt.SendFile(ctx, other.Location(), file), ErrTooLarge, "MaxFileSize"},
		{"a file to nobody", rt.SendFile(ctx, nobody, file), ErrDisconnected, nobody.String()},
		{"a file, over", rt.SendFile(over, other.Location(), file), context.Canceled, file},
		{"two options", rt.SendFile(ctx, other.Location(), file, FileOptions{}, FileOptions{}), nil, "2 discoro.FileOptions"},
		{"delete no file", rt.DeleteFile(ctx, other.Location(), "nowhere"), ErrNotFound, "nowhere"},
		{"delete nothing", rt.DeleteFile(ctx, other.Location(), ""), ErrRejected, "name"},
		{"delete at nobody", rt.DeleteFile(ctx, nobody, "x"), ErrDisconnected, nobody.String()},

		{"a computation of nobody", second(NewComputation(nil)), nil, "runtime"},
		{"an empty function", second(NewComputation(rt, ComputationConfig{Functions: []string{""}})), nil, "Functions"},
		{"a file that is not there", second(NewComputation(rt, ComputationConfig{Files: []string{"nowhere"}})), os.ErrNotExist, "nowhere"},
		{"a filter that is none", second(NewComputation(rt, ComputationConfig{NodeFilters: []NodeFilter{{Addr: "("}}})), nil, "NodeFilters[0].Addr"},
		{"a pulse", second(NewComputation(rt, ComputationConfig{PulseInterval: 1})), nil, "PulseInterval"},
		{"schedule twice", comp.Schedule(ctx), ErrExists, "schedule"},
		{"schedule at two", fresh().Schedule(ctx, nobody, nobody), nil, "2 locations"},
		{"schedule at nobody", fresh().Schedule(ctx, nobody), ErrDisconnected, nobody.String()},
		{"schedule at no scheduler", fresh().Schedule(ctx, other.Location()), ErrNotFound, other.Location().String()},
		{"schedule, over", fresh().Schedule(soon(20 * time.Millisecond)), context.DeadlineExceeded, rt.Location().String()},
		{"not scheduled", fresh().WaitServers(ctx, 1), ErrClosed, "not scheduled"},
		{"run, not scheduled", second(fresh().Run(ctx, shapeBytes.With(1))), ErrClosed, "shape.bytes"},
		{"position, over", second(comp.Position(over)), context.Canceled, "position"},
		{"nodes, over", second(comp.Nodes(over)), context.Canceled, "nodes"},
		{"servers, over", second(comp.Servers(over)), context.Canceled, "servers"},
		{"two servers", comp.WaitServers(soon(20*time.Millisecond), 2), ErrNoServer, "2 servers"},
		{"run nothing", second(comp.Run(ctx, nil)), nil, "With"},
		{"run an empty call", second(comp.Run(ctx, Call[int]{})), nil, "With"},
		{"run no function", second(comp.Run(ctx, Func[int, int]{}.With(1))), nil, "Register"},
		{"run by no name", second(comp.Run(ctx, Named("", 1))), nil, "call by name"},
		{"run by a long name", second(comp.Run(ctx, Named(strings.Repeat("x", 1000), 1))), nil, "call by name"},
		{"run by a name that nobody has", run(Named("shape.byte", 1)), ErrNotRegistered, `"shape.byte"`},
		{"run by name with another type", run(Named("shape.bytes", "x")), ErrType, "shape.bytes"},
		{"run by name what cannot travel", run(Named("shape.bytes", make(chan int))), nil, "shape.bytes"},
		{"run with what has no name", run(shapeAny.With(shapeUnknown{1})), ErrTypeNotRegistered, "shape.any"},
		{"run with what is no UTF-8", run(shapeFails.With("\xff")), nil, "send []byte"},
		{"run with too much", run(Named("shape.bytes", make([]byte, small+1))), ErrTooLarge, "shape.bytes"},
		{"a result that is too large", run(shapeBytes.With(small)), ErrTooLarge, "shape.bytes"},
		{"a result of no name", func() error {
			c, err := comp.Run(ctx, Named("shape.any", 1))
			if err != nil {
				return err
			}
			return second(Result[any](ctx, c))
		}(), ErrTypeNotRegistered, "shape.any"},
		{"run at no place", second(comp.RunAt(ctx, nil, shapeBytes.With(1))), nil, "place"},
		{"run at an empty node", second(comp.RunAt(ctx, NodeAddr(""), shapeBytes.With(1))), ErrNotFound, "run at"},
		{"run at no location", second(comp.RunAt(ctx, Location{}, shapeBytes.With(1))), ErrNotFound, "run at"},
		{"run at nobody", second(comp.RunAt(ctx, nobody, shapeBytes.With(1))), ErrNotFound, nobody.String()},
		{"run at no node", second(comp.RunAt(ctx, NodeAddr("nowhere"), shapeBytes.With(1))), ErrNotFound, `"nowhere"`},
		{"run at each of nothing", second(comp.RunEach(ctx, 0, shapeBytes.With(1))), nil, "EachNode"},
		{"run at no node's servers", second(comp.RunNodeServers(ctx, "nowhere", shapeBytes.With(1))), ErrNotFound, `"nowhere"`},
		{"map with what cannot travel", second(MapResults(ctx, rcs, shapeFails, slices.Values([]string{"\xff"}))), nil, "send []byte"},
		{"execute, over", second(Execute(over, rcs, shapeBytes.With(1))), context.Canceled, "shape.bytes"},
		{"a scheduler of nothing", second(NewRemoteCoroScheduler(nil)), nil, "computation"},
		{"negative retries", second(NewRemoteCoroScheduler(comp, RCSConfig{Retries: -1})), nil, "Retries"},
		{"finish, one running", func() error {
			c, err := rcs.SubmitAt(ctx, server, shapeNap.With(time.Hour))
			if err != nil {
				return err
			}
			defer func() { _ = c.Terminate() }()
			return rcs.Finish(over, true)
		}(), context.Canceled, "1 task"},
		{"kill no server", node.killServer(nobody), ErrNotFound, nobody.String()},
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
