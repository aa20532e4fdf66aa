package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/discoro/discoro"
)

// The work as discoro does it, from coroutine to coroutine. discoro's own benchmarks of links do the same.

func init() {
	discoro.RegisterType[Small]("bench.Small")
	discoro.RegisterType[sinkStart]("bench.Start")
	discoro.RegisterType[sinkStop]("bench.Stop")
	discoro.RegisterType[sinkDone]("bench.Done")
}

// sinkStart makes a sink count anew, and tell Done when N messages have come; nobody is told when N is negative.
type sinkStart struct {
	Done  *discoro.Coro
	N     int
	Mixed bool // from several senders: their numbers come in no order
}

// sinkStop makes a sink tell what has come.
type sinkStop struct{}

// flows says that a stream flows.
type flows struct{}

// sinkDone is what came: how many messages, the sum of their numbers, how many were wrong.
type sinkDone struct{ Count, Sum, Wrong int }

// benchSecret is the secret of the rows that have one.
const benchSecret = "a secret for benchmarks"

func newRuntime(secret string) (*discoro.Runtime, error) {
	return discoro.NewRuntime(discoro.Config{Addr: "127.0.0.1", Secret: secret, Logger: slog.New(slog.DiscardHandler)})
}

// serveDiscoro starts the other side's runtime and its coroutines.
func serveDiscoro(secret string) (*discoro.Runtime, error) {
	rt, err := newRuntime(secret)
	if err != nil {
		return nil, err
	}
	named := map[string]func(*discoro.Coro) (any, error){"echo": echoCoro, "answer": answerCoro, "bulk": sinkCoro}
	for i := range pairs {
		named["sink-"+strconv.Itoa(i)] = sinkCoro
	}
	for name, f := range named {
		if err := rt.Spawn(name, f).Register(name); err != nil {
			return nil, err
		}
	}
	return rt, nil
}

// echoCoro sends back what comes, to the coroutine that it was last told.
func echoCoro(c *discoro.Coro) (any, error) {
	var to *discoro.Coro
	for {
		msg, err := c.Receive()
		if err != nil {
			return nil, err
		}
		if other, ok := msg.(*discoro.Coro); ok {
			to = other
			continue
		}
		if err := to.Send(msg); err != nil {
			return nil, err
		}
	}
}

func answerCoro(c *discoro.Coro) (any, error) {
	for {
		r, err := discoro.ReceiveAs[*discoro.Request](c)
		if err != nil {
			return nil, err
		}
		if err := r.Reply(r.Msg); err != nil {
			return nil, err
		}
	}
}

// sinkCoro counts messages.
func sinkCoro(c *discoro.Coro) (any, error) {
	var start sinkStart
	var done sinkDone
	for {
		msg, err := c.Receive()
		if err != nil {
			return nil, err
		}
		number := 0
		switch msg := msg.(type) {
		case sinkStart:
			start, done = msg, sinkDone{}
			continue
		case sinkStop:
			if err := start.Done.Send(done); err != nil {
				return nil, err
			}
			continue
		case Small:
			number = msg.ID
			if !msg.right() {
				done.Wrong++
			}
		case []byte:
			number = blobNumber(msg)
		}
		if number != done.Count && !start.Mixed {
			done.Wrong++
		}
		done.Count, done.Sum = done.Count+1, done.Sum+number
		if done.Count == start.N {
			if err := start.Done.Send(done); err != nil {
				return nil, err
			}
		}
	}
}

// discoroPeer is the other side's runtime as seen from here.
type discoroPeer struct {
	rt                 *discoro.Runtime
	echo, answer, bulk *discoro.Coro
	sinks              []*discoro.Coro
}

func dialDiscoro(b *testing.B, addr, secret string) *discoroPeer {
	b.Helper()
	rt, err := newRuntime(secret)
	if err != nil {
		b.Fatal(err)
	}
	loc, err := rt.Connect(b.Context(), addr)
	if err != nil {
		b.Fatal(err)
	}
	find := func(name string) *discoro.Coro {
		c, err := rt.Locate(b.Context(), name, loc)
		if err != nil {
			b.Fatal(err)
		}
		return c
	}
	p := &discoroPeer{rt: rt, echo: find("echo"), answer: find("answer"), bulk: find("bulk")}
	for i := range pairs {
		p.sinks = append(p.sinks, find("sink-"+strconv.Itoa(i)))
	}
	return p
}

// inCoro runs f as a coroutine, and returns what f says that it took.
func (p *discoroPeer) inCoro(b *testing.B, f func(c *discoro.Coro) (time.Duration, error)) time.Duration {
	b.Helper()
	c := p.rt.Spawn("bench", func(c *discoro.Coro) (any, error) { return f(c) })
	took, err := discoro.Result[time.Duration](b.Context(), c)
	if err != nil {
		b.Fatal(err)
	}
	return took
}

func (p *discoroPeer) pingPong(b *testing.B, n int) time.Duration {
	b.Helper()
	return p.inCoro(b, func(c *discoro.Coro) (time.Duration, error) {
		if err := p.echo.Deliver(c, c); err != nil { // where it is to answer
			return 0, err
		}
		start := time.Now()
		for i := range n {
			if err := p.roundTrip(c, i); err != nil {
				return 0, err
			}
		}
		return time.Since(start), nil
	})
}

func (p *discoroPeer) roundTrip(c *discoro.Coro, i int) error {
	sent := small(i)
	if err := p.echo.Send(sent); err != nil {
		return err
	}
	got, err := discoro.ReceiveAs[Small](c)
	if err == nil && got != sent {
		err = fmt.Errorf("sent %v, got %v", sent, got)
	}
	return err
}

func (p *discoroPeer) oneWay(b *testing.B, n int) time.Duration {
	b.Helper()
	return p.send(b, p.sinks[0], n, func(i int) any { return small(i) })
}

func (p *discoroPeer) blobs(b *testing.B, n int) time.Duration {
	b.Helper()
	blob := make([]byte, blobSize)
	return p.send(b, p.bulk, n, func(i int) any {
		binary.BigEndian.PutUint64(blob, uint64(i))
		return blob
	})
}

func (p *discoroPeer) send(b *testing.B, to *discoro.Coro, n int, msg func(i int) any) time.Duration {
	b.Helper()
	return p.inCoro(b, func(c *discoro.Coro) (time.Duration, error) {
		if err := to.Deliver(c, sinkStart{Done: c, N: n}); err != nil {
			return 0, err
		}
		start := time.Now()
		for i := range n {
			if err := to.Send(msg(i)); err != nil {
				return 0, err
			}
		}
		done, err := discoro.ReceiveAs[sinkDone](c)
		took := time.Since(start)
		if err == nil {
			err = check(n, done.Count, done.Sum, done.Wrong)
		}
		return took, err
	})
}

func (p *discoroPeer) manyToMany(b *testing.B, n int) time.Duration {
	b.Helper()
	return p.inCoro(b, func(c *discoro.Coro) (time.Duration, error) {
		for i, sink := range p.sinks {
			if err := sink.Deliver(c, sinkStart{Done: c, N: shares(n, i), Mixed: true}); err != nil {
				return 0, err
			}
		}
		start := time.Now()
		for s := range pairs {
			c.Spawn("source", func(*discoro.Coro) (any, error) {
				for i := range share(n, pairs, s) {
					if err := p.sinks[i%pairs].Send(small(i*pairs + s)); err != nil {
						return nil, err
					}
				}
				return nil, nil
			})
		}
		var all sinkDone
		for range p.sinks {
			done, err := discoro.ReceiveAs[sinkDone](c)
			if err != nil {
				return 0, err
			}
			all.Count, all.Sum, all.Wrong = all.Count+done.Count, all.Sum+done.Sum, all.Wrong+done.Wrong
		}
		return time.Since(start), check(n, all.Count, all.Sum, all.Wrong)
	})
}

func (p *discoroPeer) ask(b *testing.B, n int) time.Duration {
	b.Helper()
	callers := make([]*discoro.Coro, inFlight)
	start := time.Now()
	for s := range callers {
		callers[s] = p.rt.Spawn("caller", func(c *discoro.Coro) (any, error) {
			for i := range share(n, inFlight, s) {
				sent := small(i*inFlight + s)
				got, err := discoro.Ask[Small](c, p.answer, sent)
				if err == nil && got != sent {
					err = fmt.Errorf("sent %v, got %v", sent, got)
				}
				if err != nil {
					return nil, err
				}
			}
			return nil, nil
		})
	}
	for _, c := range callers {
		if err := c.Wait(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(start)
}

// busy is what each of n round trips took while 64 KiB messages stream.
func (p *discoroPeer) busy(b *testing.B, n int) []float64 {
	b.Helper()
	var took []float64
	p.inCoro(b, func(c *discoro.Coro) (time.Duration, error) {
		if err := p.bulk.Deliver(c, sinkStart{Done: c, N: -1}); err != nil {
			return 0, err
		}
		if err := p.echo.Deliver(c, c); err != nil {
			return 0, err
		}
		var stop atomic.Bool
		stream := c.Spawn("stream", func(*discoro.Coro) (any, error) { return nil, p.stream(c, &stop) })
		if _, err := discoro.ReceiveAs[flows](c); err != nil {
			return 0, err
		}
		for i := range n {
			start := time.Now()
			if err := p.roundTrip(c, i); err != nil {
				return 0, err
			}
			took = append(took, float64(time.Since(start)))
		}
		stop.Store(true)
		if err := stream.Wait(c); err != nil {
			return 0, err
		}
		done, err := discoro.ReceiveAs[sinkDone](c)
		if err == nil && (done.Wrong > 0 || done.Count <= flowing) {
			err = fmt.Errorf("of the stream arrived %+v", done)
		}
		return 0, err
	})
	return took
}

// busyWithFile is busy while files go the same way, one after the other.
func (p *discoroPeer) busyWithFile(b *testing.B, n int) []float64 {
	b.Helper()
	path := filepath.Join(b.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, 64<<20), 0o600); err != nil {
		b.Fatal(err)
	}
	to := p.echo.Location()
	var stop atomic.Bool
	flows, ended := make(chan struct{}), make(chan error, 1)
	flow := sync.OnceFunc(func() { close(flows) })
	go func() {
		defer flow()
		var err error
		for err == nil && !stop.Load() {
			err = p.rt.SendFile(context.Background(), to, path, discoro.FileOptions{
				Overwrite: true, Progress: func(int64, int64) { flow() },
			})
		}
		ended <- err
	}()
	<-flows
	took := p.busy(b, n)
	stop.Store(true)
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
	return took
}

// stream sends 64 KiB messages until stop, and tells c when they flow.
func (p *discoroPeer) stream(c *discoro.Coro, stop *atomic.Bool) error {
	blob := make([]byte, blobSize)
	for i := 0; i <= flowing || !stop.Load(); i++ {
		binary.BigEndian.PutUint64(blob, uint64(i))
		if err := p.bulk.Send(blob); err != nil {
			return err
		}
		if i == flowing {
			if err := c.Send(flows{}); err != nil {
				return err
			}
		}
	}
	return p.bulk.Send(sinkStop{})
}

func (p *discoroPeer) close() error { return p.rt.Close() }

func listen() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") }
