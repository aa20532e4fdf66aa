package test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/rpc"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/discoro/discoro"
)

// These benchmarks measure messages between two processes, and compare them with the same work
// without discoro: over bare TCP, in batches of cbor frames over bare TCP, and by net/rpc. The
// other side is this program again; see bench_link_peer_test.go. Run them with
//
//	go test -run '^$' -bench Link -benchtime 3s ./test
//
// An iteration is a slice of ours and a slice of the yardstick's, so that a machine that is busy at
// times is busy for both. Figures are medians of slices. The ratio is the median of the ratios of
// neighbours.

// byTurns measures ours and yardstick alternately. Each does n units a call and returns how long
// they took. It reports the ns a unit of both, and their ratio: with times set, our time in units
// of the yardstick's (smaller is better), otherwise our speed in units of the yardstick's (larger
// is better).
func byTurns(b *testing.B, n int, metric string, times bool, ours, yardstick func(n int) time.Duration) {
	b.Helper()
	ours(n)
	yardstick(n)
	var spent, yard, ratios []float64
	for b.Loop() {
		s, y := float64(ours(n))/float64(n), float64(yardstick(n))/float64(n)
		spent, yard, ratios = append(spent, s), append(yard, y), append(ratios, s/y)
	}
	ratio := quantile(ratios, 0.5)
	if !times {
		ratio = 1 / ratio
	}
	b.ReportMetric(quantile(spent, 0.5), "ns/op")
	b.ReportMetric(quantile(yard, 0.5), "yardstick-ns/op")
	b.ReportMetric(ratio, metric)
}

// quantile sorts values and returns the one below which that part of them is.
func quantile(values []float64, q float64) float64 {
	slices.Sort(values)
	return values[min(int(q*float64(len(values))), len(values)-1)]
}

// linkRow is a row of the table: how many units a slice has, and the work. Rows with times compare
// times, the others speeds.
type linkRow struct {
	name   string
	slice  int
	metric string
	times  bool
	ours   func(b *testing.B, p *linkPeer, n int) time.Duration
	yard   func(p *linkPeer, b *testing.B, n int) time.Duration
}

var linkRows = []linkRow{
	{"PingPong", 500, "x-tcp", true, linkPingPong, (*linkPeer).yardEcho},
	{"OneWay", 100_000, "of-cbor-over-tcp", false, linkOneWay, (*linkPeer).yardFrames},
	{"100To100", 100_000, "of-cbor-over-tcp", false, link100To100, (*linkPeer).yardFrames},
	{"64KiB", 1000, "of-tcp", false, linkBulk, (*linkPeer).yardBulk},
	{"Ask64", 5000, "of-net/rpc", false, linkAsk, (*linkPeer).yardRPC},
}

// BenchmarkLink measures messages from coroutines here to coroutines in another process. The aims:
// ping-pong at most 1.2 of the time over bare TCP; one way at least 0.7 of the speed of batches of
// cbor frames over bare TCP, and 0.6 from 100 to 100; 64 KiB at least 0.37 of bare TCP; Ask at
// least 1.7 times net/rpc, with 64 in flight for both.
func BenchmarkLink(b *testing.B) {
	p := startLinkPeer(b, "")
	for _, row := range linkRows {
		b.Run(row.name, func(b *testing.B) {
			byTurns(b, row.slice, row.metric, row.times,
				func(n int) time.Duration { return row.ours(b, p, n) },
				func(n int) time.Duration { return row.yard(p, b, n) })
		})
	}
}

// BenchmarkLinkSecret compares an encrypted link with a plain one. The aim is at least 0.7 of its
// speed.
func BenchmarkLinkSecret(b *testing.B) {
	plain, secret := startLinkPeer(b, ""), startLinkPeer(b, "a secret for benchmarks")
	for _, row := range linkRows {
		b.Run(row.name, func(b *testing.B) {
			byTurns(b, row.slice, "of-plain", false,
				func(n int) time.Duration { return row.ours(b, secret, n) },
				func(n int) time.Duration { return row.ours(b, plain, n) })
		})
	}
}

// BenchmarkLinkBusy compares a round trip while 64 KiB messages stream to the same process, alone
// and together with a file, with one over the idle link. The aim is at most 10 times as long, and
// the slowest of a hundred under 100 ms.
func BenchmarkLinkBusy(b *testing.B) {
	for _, file := range []string{"", benchFile(b, 64<<20)} {
		b.Run("file="+strconv.FormatBool(file != ""), func(b *testing.B) { benchBusy(b, file) })
	}
}

// benchBusy is BenchmarkLinkBusy with the file at path, or without a file if path is empty.
func benchBusy(b *testing.B, file string) {
	b.Helper()
	p := startLinkPeer(b, "")
	const trips = 300
	linkPingPong(b, p, trips)
	busyTrips(b, p, trips, file)
	var busy, idle []float64
	for b.Loop() {
		idle = append(idle, float64(linkPingPong(b, p, trips))/trips)
		busy = append(busy, busyTrips(b, p, trips, file)...)
	}
	b.ReportMetric(quantile(busy, 0.5), "ns/op")
	b.ReportMetric(quantile(idle, 0.5), "yardstick-ns/op")
	b.ReportMetric(quantile(busy, 0.5)/quantile(idle, 0.5), "x-idle")
	b.ReportMetric(quantile(busy, 0.99)/1e6, "p99-ms")
	b.ReportMetric(quantile(busy, 1)/1e6, "max-ms")
}

// inCoro runs f as a coroutine of this side's runtime, and returns the time that f returns.
func (p *linkPeer) inCoro(b *testing.B, f func(c *discoro.Coro) (time.Duration, error)) time.Duration {
	b.Helper()
	c := p.rt.Spawn("bench", func(c *discoro.Coro) (any, error) { return f(c) })
	took, err := discoro.Result[time.Duration](b.Context(), c)
	if err != nil {
		b.Fatal(err)
	}
	return took
}

// linkPingPong is n round trips of a small message.
func linkPingPong(b *testing.B, p *linkPeer, n int) time.Duration {
	b.Helper()
	return p.inCoro(b, func(c *discoro.Coro) (time.Duration, error) {
		if err := p.echo.Deliver(c, c); err != nil { // the coroutine that it answers
			return 0, err
		}
		start := time.Now()
		for i := range n {
			if err := roundTrip(c, p.echo, i); err != nil {
				return 0, err
			}
		}
		return time.Since(start), nil
	})
}

func roundTrip(c, echo *discoro.Coro, i int) error {
	sent := smallMessage(i)
	if err := echo.Send(sent); err != nil {
		return err
	}
	got, err := discoro.ReceiveAs[LinkSmall](c)
	if err == nil && got != sent {
		err = fmt.Errorf("sent %v, got %v", sent, got)
	}
	return err
}

// busyTrips returns the nanoseconds that each of n round trips took while 64 KiB messages stream,
// and a file if there is one.
func busyTrips(b *testing.B, p *linkPeer, n int, file string) []float64 {
	b.Helper()
	var took []float64
	p.inCoro(b, func(c *discoro.Coro) (time.Duration, error) {
		if err := p.bulk.Deliver(c, linkStart{Done: c, N: -1}); err != nil {
			return 0, err
		}
		if err := p.echo.Deliver(c, c); err != nil {
			return 0, err
		}
		var stop atomic.Bool
		stream := c.Spawn("stream", func(*discoro.Coro) (any, error) { return nil, sendBulk(c, p.bulk, &stop) })
		if _, err := discoro.ReceiveAs[linkFlowing](c); err != nil {
			return 0, err
		}
		files := make(chan error, 1)
		if file == "" {
			files <- nil
		} else if err := startFiles(c, p.echo.Location(), file, &stop, files); err != nil {
			return 0, err
		}
		for i := range n {
			start := time.Now()
			if err := roundTrip(c, p.echo, i); err != nil {
				return 0, err
			}
			took = append(took, float64(time.Since(start)))
		}
		stop.Store(true)
		if err := errors.Join(stream.Wait(c), c.Blocking(func() error { return <-files })); err != nil {
			return 0, err
		}
		done, err := discoro.ReceiveAs[linkDone](c)
		if err == nil && (done.Wrong > 0 || done.Count < flowing) {
			err = fmt.Errorf("of the stream arrived %+v", done)
		}
		return 0, err
	})
	return took
}

// startFiles sends a file again and again until stop. ended receives the error. It returns when the
// file flows.
func startFiles(c *discoro.Coro, to discoro.Location, file string, stop *atomic.Bool, ended chan<- error) error {
	flows := make(chan struct{})
	var once sync.Once
	flow := func() { once.Do(func() { close(flows) }) }
	rt := c.Runtime()
	go func() {
		defer flow()
		for !stop.Load() {
			err := rt.SendFile(context.Background(), to, file, discoro.FileOptions{
				Overwrite: true, Progress: func(int64, int64) { flow() },
			})
			if err != nil {
				ended <- err
				return
			}
		}
		ended <- nil
	}()
	return c.Blocking(func() error {
		<-flows
		return nil
	})
}

// flowing is how many messages are sent before a stream counts as flowing: more than a link's queue
// holds.
const flowing = 200

// sendBulk sends 64 KiB messages until stop, and sends c linkFlowing when they flow.
func sendBulk(c, to *discoro.Coro, stop *atomic.Bool) error {
	blob := make([]byte, bulkSize)
	for i := 0; i < flowing || !stop.Load(); i++ {
		binary.BigEndian.PutUint64(blob, uint64(i))
		if err := to.Send(blob); err != nil {
			return err
		}
		if i == flowing {
			if err := c.Send(linkFlowing{}); err != nil {
				return err
			}
		}
	}
	return to.Send(linkStop{})
}

// linkOneWay is n small messages from one coroutine to another, until the last is received and
// decoded.
func linkOneWay(b *testing.B, p *linkPeer, n int) time.Duration {
	b.Helper()
	return p.inCoro(b, func(c *discoro.Coro) (time.Duration, error) {
		return oneWay(c, p.sinks[0], n, func(i int) any { return smallMessage(i) })
	})
}

// linkBulk is linkOneWay with []byte messages of 64 KiB.
func linkBulk(b *testing.B, p *linkPeer, n int) time.Duration {
	b.Helper()
	blob := make([]byte, bulkSize)
	return p.inCoro(b, func(c *discoro.Coro) (time.Duration, error) {
		return oneWay(c, p.bulk, n, func(i int) any {
			binary.BigEndian.PutUint64(blob, uint64(i))
			return blob
		})
	})
}

func oneWay(c, to *discoro.Coro, n int, msg func(i int) any) (time.Duration, error) {
	if err := to.Deliver(c, linkStart{Done: c, N: n}); err != nil {
		return 0, err
	}
	start := time.Now()
	for i := range n {
		if err := to.Send(msg(i)); err != nil {
			return 0, err
		}
	}
	done, err := discoro.ReceiveAs[linkDone](c)
	took := time.Since(start)
	if err == nil && (done.Count != n || done.Last != n-1 || done.Wrong > 0) {
		err = fmt.Errorf("of %d messages arrived %+v", n, done)
	}
	return took, err
}

// link100To100 is n small messages from 100 coroutines to 100 others. Each sends to all of them in
// turn.
func link100To100(b *testing.B, p *linkPeer, n int) time.Duration {
	b.Helper()
	const from = 100
	to := len(p.sinks)
	return p.inCoro(b, func(c *discoro.Coro) (time.Duration, error) {
		for i, sink := range p.sinks {
			if err := sink.Deliver(c, linkStart{Done: c, N: shares(n, from, to, i), Mixed: true}); err != nil {
				return 0, err
			}
		}
		start := time.Now()
		for s := range from {
			c.Spawn("source", func(*discoro.Coro) (any, error) {
				for i := range share(n, from, s) {
					if err := p.sinks[i%to].Send(smallMessage(i*from + s)); err != nil {
						return nil, err
					}
				}
				return nil, nil
			})
		}
		count, sum := 0, 0
		for range p.sinks {
			done, err := discoro.ReceiveAs[linkDone](c)
			if err != nil {
				return 0, err
			}
			count, sum = count+done.Count, sum+done.Sum
		}
		took := time.Since(start)
		if count != n || sum != n*(n-1)/2 { // the numbers sent are all those below n
			return 0, fmt.Errorf("of %d messages arrived %d, the sum of their numbers is %d", n, count, sum)
		}
		return took, nil
	})
}

// inFlightAsks is how many calls wait for their results at any time.
const inFlightAsks = 64

// linkAsk is n calls, from 64 coroutines.
func linkAsk(b *testing.B, p *linkPeer, n int) time.Duration {
	b.Helper()
	callers := make([]*discoro.Coro, inFlightAsks)
	start := time.Now()
	for s := range callers {
		callers[s] = p.rt.Spawn("caller", func(c *discoro.Coro) (any, error) {
			for i := range share(n, inFlightAsks, s) {
				sent := smallMessage(i*inFlightAsks + s)
				got, err := discoro.Ask[LinkSmall](c, p.answer, sent)
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
		if err := c.Wait(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(start)
}

// yardRPC is linkAsk with net/rpc.
func (p *linkPeer) yardRPC(b *testing.B, n int) time.Duration {
	b.Helper()
	start := time.Now()
	errs := make(chan error)
	for s := range inFlightAsks {
		go func() {
			var err error
			for i := 0; i < share(n, inFlightAsks, s) && err == nil; i++ {
				err = p.callRPC(i*inFlightAsks + s)
			}
			errs <- err
		}()
	}
	var all []error
	for range inFlightAsks {
		all = append(all, <-errs)
	}
	if err := errors.Join(all...); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}

func (p *linkPeer) callRPC(i int) error {
	sent := smallMessage(i)
	var got LinkSmall
	err := p.rpc.Call("LinkRPC.Echo", sent, &got)
	if err == nil && got != sent {
		err = fmt.Errorf("sent %v, got %v", sent, got)
	}
	return err
}

// LinkRPC is the yardstick's service.
type LinkRPC struct{}

// Echo returns its argument.
func (LinkRPC) Echo(arg LinkSmall, reply *LinkSmall) error {
	*reply = arg
	return nil
}

func newRPCServer() (*rpc.Server, error) {
	s := rpc.NewServer()
	return s, s.Register(LinkRPC{})
}
