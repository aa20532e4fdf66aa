package bench

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/rpc"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/hashicorp/yamux"
)

// The yardsticks: bare TCP, yamux over it, and net/rpc.

// What a connection, or a yamux stream, is for; its first byte.
const (
	forEcho   = 'e'
	forCore   = 'c' // echo on one core
	forFrames = 'f'
	forBlobs  = 'b'
	forRPC    = 'r'
	forYamux  = 'y' // each stream says again what it is for
)

func serveYardsticks(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			report(serveYardstick(conn))
			_ = conn.Close() // the benchmark sees it
		}()
	}
}

func serveYardstick(conn net.Conn) error {
	var what [1]byte
	if _, err := io.ReadFull(conn, what[:]); err != nil {
		return err
	}
	switch what[0] {
	case forEcho:
		return echo(conn)
	case forCore:
		return echoOnCore(conn)
	case forFrames:
		return count(conn, 64<<10, readFrame)
	case forBlobs:
		return count(conn, 4<<10, readBlob()) // large reads go past the buffer
	case forRPC:
		s := rpc.NewServer()
		if err := s.Register(&RPC{}); err != nil {
			return err
		}
		s.ServeConn(conn)
		return nil
	case forYamux:
		session, err := yamux.Server(conn, yamuxConfig())
		if err != nil {
			return err
		}
		serveYardsticks(session)
		return nil
	}
	return fmt.Errorf("a connection for %q", what)
}

func yamuxConfig() *yamux.Config {
	cfg := yamux.DefaultConfig()
	cfg.MaxStreamWindowSize = 1 << 20
	cfg.EnableKeepAlive = false
	cfg.LogOutput, cfg.Logger = nil, log.New(io.Discard, "", 0)
	return cfg
}

func echo(conn io.ReadWriter) error {
	buf := make([]byte, 4<<10)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return nil // the benchmark is over
		}
		if _, err := conn.Write(buf[:n]); err != nil {
			return err
		}
	}
}

// count reads a number, and then so many frames, numbered in order; it answers with how many were right.
func count(conn net.Conn, buffer int, next func(r *bufio.Reader) (int, error)) error {
	r := bufio.NewReaderSize(conn, buffer)
	var head [8]byte
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return nil // the benchmark is over
		}
		right := 0
		for i := range int(binary.BigEndian.Uint64(head[:])) {
			number, err := next(r)
			if err != nil {
				return err
			}
			if number == i {
				right++
			}
		}
		if _, err := conn.Write(binary.BigEndian.AppendUint64(nil, uint64(right))); err != nil {
			return err
		}
	}
}

// array is Small as the yardstick encodes it: the smallest and fastest that cbor has.
type array struct {
	_     struct{} `cbor:",toarray"`
	ID    int
	Name  string
	Value float64
}

// readFrame reads two bytes that say how long the message is, and the message.
func readFrame(r *bufio.Reader) (int, error) {
	head, err := r.Peek(2)
	if err != nil {
		return 0, err
	}
	size := 2 + int(binary.BigEndian.Uint16(head))
	frame, err := r.Peek(size)
	if err != nil {
		return 0, err
	}
	var msg array
	if err := cbor.Unmarshal(frame[2:], &msg); err != nil {
		return 0, err
	}
	_, err = r.Discard(size)
	return msg.ID, err
}

// readBlob returns a function that reads 64 KiB into the same buffer each time.
func readBlob() func(r *bufio.Reader) (int, error) {
	blob := make([]byte, blobSize)
	return func(r *bufio.Reader) (int, error) {
		_, err := io.ReadFull(r, blob)
		return blobNumber(blob), err
	}
}

// yardstick is the same work over bare TCP, or streams of yamux.
type yardstick struct{ echo, cores, frames, blobs net.Conn }

func dialFor(b *testing.B, what byte, dial func() (net.Conn, error)) net.Conn {
	b.Helper()
	conn, err := dial()
	if err == nil {
		_, err = conn.Write([]byte{what})
	}
	if err != nil {
		b.Fatal(err)
	}
	return conn
}

func dialYardstick(b *testing.B, dial func() (net.Conn, error)) *yardstick {
	b.Helper()
	return &yardstick{echo: dialFor(b, forEcho, dial), frames: dialFor(b, forFrames, dial), blobs: dialFor(b, forBlobs, dial)}
}

func (y *yardstick) pingPong(b *testing.B, n int) time.Duration {
	b.Helper()
	buf := make([]byte, 64)
	start := time.Now()
	for i := range n {
		binary.BigEndian.PutUint64(buf, uint64(i))
		if _, err := y.echo.Write(buf); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(y.echo, buf); err != nil {
			b.Fatal(err)
		}
		if got := binary.BigEndian.Uint64(buf); got != uint64(i) {
			b.Fatalf("sent %d, got %d", i, got)
		}
	}
	return time.Since(start)
}

// oneWay sends cbor frames, 64 KiB of them a Write.
func (y *yardstick) oneWay(b *testing.B, n int) time.Duration {
	b.Helper()
	start := time.Now()
	var buf bytes.Buffer
	buf.Write(binary.BigEndian.AppendUint64(nil, uint64(n)))
	for i := range n {
		at := buf.Len()
		buf.Write([]byte{0, 0})
		msg := small(i)
		if err := cbor.MarshalToBuffer(&array{ID: msg.ID, Name: msg.Name, Value: msg.Value}, &buf); err != nil {
			b.Fatal(err)
		}
		binary.BigEndian.PutUint16(buf.Bytes()[at:], uint16(buf.Len()-at-2))
		if buf.Len() > 64<<10-100 || i == n-1 {
			if _, err := y.frames.Write(buf.Bytes()); err != nil {
				b.Fatal(err)
			}
			buf.Reset()
		}
	}
	answered(b, y.frames, n)
	return time.Since(start)
}

func (y *yardstick) sendBlobs(b *testing.B, n int) time.Duration {
	b.Helper()
	blob := make([]byte, blobSize)
	start := time.Now()
	if _, err := y.blobs.Write(binary.BigEndian.AppendUint64(nil, uint64(n))); err != nil {
		b.Fatal(err)
	}
	for i := range n {
		binary.BigEndian.PutUint64(blob, uint64(i))
		if _, err := y.blobs.Write(blob); err != nil {
			b.Fatal(err)
		}
	}
	answered(b, y.blobs, n)
	return time.Since(start)
}

// answered waits until the other side has counted n right frames.
func answered(b *testing.B, conn net.Conn, n int) {
	b.Helper()
	var answer [8]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		b.Fatal(err)
	}
	if right := int(binary.BigEndian.Uint64(answer[:])); right != n {
		b.Fatalf("%d of %d frames were right", right, n)
	}
}

// RPC is net/rpc's service. It runs each call in a goroutine of its own.
type RPC struct{ count, sum, wrong atomic.Int64 }

// Echo answers with what it was asked.
func (*RPC) Echo(arg Small, reply *Small) error {
	*reply = arg
	return nil
}

// Take counts a message.
func (r *RPC) Take(arg Small, _ *struct{}) error {
	r.took(arg.ID, arg.right())
	return nil
}

// TakeBlob counts a large message.
func (r *RPC) TakeBlob(blob []byte, _ *struct{}) error {
	number := blobNumber(blob)
	r.took(number, number >= 0)
	return nil
}

func (r *RPC) took(number int, right bool) {
	r.count.Add(1)
	r.sum.Add(int64(number))
	if !right {
		r.wrong.Add(1)
	}
}

// Taken is what has come since the last time.
type Taken struct{ Count, Sum, Wrong int }

// Total tells what has come, and counts anew.
func (r *RPC) Total(_ struct{}, t *Taken) error {
	*t = Taken{int(r.count.Swap(0)), int(r.sum.Swap(0)), int(r.wrong.Swap(0))}
	return nil
}

type rpcPeer struct{ client *rpc.Client }

func (p *rpcPeer) call(i int) error {
	sent := small(i)
	var got Small
	err := p.client.Call("RPC.Echo", sent, &got)
	if err == nil && got != sent {
		err = fmt.Errorf("sent %v, got %v", sent, got)
	}
	return err
}

func (p *rpcPeer) pingPong(b *testing.B, n int) time.Duration {
	b.Helper()
	return sequential(b, n, p.call)
}

func (p *rpcPeer) ask(b *testing.B, n int) time.Duration {
	b.Helper()
	return concurrent(b, n, inFlight, p.call)
}

// oneWay has no other way than calls whose answers nobody waits for one by one: at most 1024 are on their way.
func (p *rpcPeer) oneWay(b *testing.B, n int) time.Duration {
	b.Helper()
	return p.pipeline(b, n, 1024, "RPC.Take", func(i int) any { return small(i) })
}

func (p *rpcPeer) blobs(b *testing.B, n int) time.Duration {
	b.Helper()
	blob := make([]byte, blobSize)
	return p.pipeline(b, n, inFlight, "RPC.TakeBlob", func(i int) any {
		binary.BigEndian.PutUint64(blob, uint64(i))
		return blob // Go has encoded it when it returns
	})
}

func (p *rpcPeer) pipeline(b *testing.B, n, window int, method string, arg func(i int) any) time.Duration {
	b.Helper()
	start := time.Now()
	done := make(chan *rpc.Call, window)
	await := func() {
		if call := <-done; call.Error != nil {
			b.Fatal(call.Error)
		}
	}
	for i := range n {
		if i >= window {
			await()
		}
		p.client.Go(method, arg(i), nil, done)
	}
	for range min(n, window) {
		await()
	}
	p.total(b, n)
	return time.Since(start)
}

// total checks that n messages have come.
func (p *rpcPeer) total(b *testing.B, n int) {
	b.Helper()
	var t Taken
	err := p.client.Call("RPC.Total", struct{}{}, &t)
	if err == nil {
		err = check(n, t.Count, t.Sum, t.Wrong)
	}
	if err != nil {
		b.Fatal(err)
	}
}

func (p *rpcPeer) manyToMany(b *testing.B, n int) time.Duration {
	b.Helper()
	took := concurrent(b, n, pairs, func(i int) error { return p.client.Call("RPC.Take", small(i), nil) })
	p.total(b, n)
	return took
}

// busy is what each of n calls took while large messages stream.
func (p *rpcPeer) busy(b *testing.B, n int) []float64 {
	b.Helper()
	flow := newFlow()
	flow.run(func(i int) error {
		done := make(chan *rpc.Call, inFlight)
		for range inFlight {
			p.client.Go("RPC.TakeBlob", newBlob(i), nil, done)
		}
		for range inFlight {
			if call := <-done; call.Error != nil {
				return call.Error
			}
		}
		return nil
	})
	took := flow.measure(b, n, p.call)
	var t Taken
	if err := p.client.Call("RPC.Total", struct{}{}, &t); err != nil {
		b.Fatal(err)
	}
	return took
}

// flow is a stream of large messages beside which something is measured.
type flow struct {
	stop  atomic.Bool
	flows chan struct{} // closed when it flows
	ended chan error    // capacity 1
}

func newFlow() *flow { return &flow{flows: make(chan struct{}), ended: make(chan error, 1)} }

// run calls send in a goroutine until measure has what it wants.
func (f *flow) run(send func(i int) error) {
	go func() {
		for i := 0; i <= flowing || !f.stop.Load(); i++ {
			if err := send(i); err != nil {
				f.ended <- err
				return
			}
			if i == 10 {
				close(f.flows)
			}
		}
		f.ended <- nil
	}()
}

// measure times n calls beside the flow, and ends that.
func (f *flow) measure(b *testing.B, n int, call func(i int) error) []float64 {
	b.Helper()
	select {
	case <-f.flows:
	case err := <-f.ended:
		b.Fatal(err)
	}
	took := make([]float64, n)
	for i := range took {
		start := time.Now()
		if err := call(i); err != nil {
			b.Fatal(err)
		}
		took[i] = float64(time.Since(start))
	}
	f.stop.Store(true)
	if err := <-f.ended; err != nil {
		b.Fatal(err)
	}
	return took
}

// sequential times n calls, one after the other.
func sequential(b *testing.B, n int, call func(i int) error) time.Duration {
	b.Helper()
	start := time.Now()
	for i := range n {
		if err := call(i); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(start)
}

// concurrent times n calls from so many goroutines.
func concurrent(b *testing.B, n, at int, call func(i int) error) time.Duration {
	b.Helper()
	start := time.Now()
	errs := make([]error, at)
	var wg sync.WaitGroup
	for s := range at {
		wg.Go(func() {
			for i := 0; i < share(n, at, s) && errs[s] == nil; i++ {
				errs[s] = call(i*at + s)
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	if err := errors.Join(errs...); err != nil {
		b.Fatal(err)
	}
	return took
}
