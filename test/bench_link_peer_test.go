package test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/rpc"
	"os"
	"os/exec"
	"runtime/pprof"
	"strconv"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/discoro/discoro"
)

// This is the other side of the benchmarks of links: a process with a runtime whose coroutines
// echo, answer and count, and with the servers of the yardsticks.

// LinkSmall is the small message of the benchmarks. net/rpc needs an exported type.
type LinkSmall struct {
	ID    int
	Name  string
	Value float64
}

func smallMessage(i int) LinkSmall { return LinkSmall{i, "sixteen letters.", float64(i) / 4} }

// linkStart makes a sink start to count, and send linkDone to Done when N messages have come. If N
// is negative it sends nothing.
type linkStart struct {
	Done  *discoro.Coro
	N     int
	Mixed bool // from several senders, whose numbers are in no order
}

// linkStop makes a sink send linkDone.
type linkStop struct{}

// linkFlowing is sent when a stream flows.
type linkFlowing struct{}

// linkDone is what has come: how many messages, the sum of their numbers, the last number, and how
// many came out of order.
type linkDone struct{ Count, Sum, Last, Wrong int }

func init() {
	discoro.RegisterType[LinkSmall]("bench.Small")
	discoro.RegisterType[linkStart]("bench.Start")
	discoro.RegisterType[linkStop]("bench.Stop")
	discoro.RegisterType[linkDone]("bench.Done")
}

const (
	linkSinks = 100
	bulkSize  = 64 << 10
)

// linkPeerEnv makes the test's program the other side. Its value is a letter and the secret, which
// may be empty.
const linkPeerEnv = "DISCORO_TEST_LINK_PEER"

// linkProfileEnv names the file for a CPU profile of the other side. This side has
// -test.cpuprofile.
const linkProfileEnv = "DISCORO_TEST_LINK_PROFILE"

// linkPeerAddrs is where the other side listens: its runtime, and the servers of the yardsticks.
type linkPeerAddrs struct{ Runtime, Yardsticks string }

// serveLinkPeer is the other side. It prints where it listens, and ends with its standard input.
func serveLinkPeer(secret string) error {
	if name := os.Getenv(linkProfileEnv); name != "" {
		f, err := os.Create(name)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer func() { pprof.StopCPUProfile(); _ = f.Close() }()
	}
	rt, err := discoro.NewRuntime(discoro.Config{Addr: "127.0.0.1", Secret: secret, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	named := map[string]func(*discoro.Coro) (any, error){"echo": linkEcho, "answer": linkAnswer, "bulk": linkSink}
	for i := range linkSinks {
		named["sink-"+strconv.Itoa(i)] = linkSink
	}
	for name, f := range named {
		if err := rt.Spawn(name, f).Register(name); err != nil {
			return err
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go serveYardsticks(ln)
	if err := json.NewEncoder(os.Stdout).Encode(linkPeerAddrs{rt.Location().String(), ln.Addr().String()}); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	return rt.Close()
}

// linkEcho sends back each message, to the coroutine that it received last.
func linkEcho(c *discoro.Coro) (any, error) {
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

// linkAnswer replies to each request with its message.
func linkAnswer(c *discoro.Coro) (any, error) {
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

// linkSink counts messages.
func linkSink(c *discoro.Coro) (any, error) {
	var start linkStart
	var done linkDone
	for {
		msg, err := c.Receive()
		if err != nil {
			return nil, err
		}
		number := 0
		switch msg := msg.(type) {
		case linkStart:
			start, done = msg, linkDone{}
			continue
		case linkStop:
			if err := start.Done.Send(done); err != nil {
				return nil, err
			}
			continue
		case LinkSmall:
			number = msg.ID
			if msg.Value != float64(msg.ID)/4 || len(msg.Name) != 16 {
				done.Wrong++
			}
		case []byte:
			number = int(binary.BigEndian.Uint64(msg))
			if len(msg) != bulkSize {
				done.Wrong++
			}
		}
		if number != done.Count && !start.Mixed {
			done.Wrong++
		}
		done.Count, done.Sum, done.Last = done.Count+1, done.Sum+number, number
		if done.Count == start.N {
			if err := start.Done.Send(done); err != nil {
				return nil, err
			}
		}
	}
}

// The first byte of a yardstick's connection, which says what it is for.
const (
	yardEcho   = 'e'
	yardFrames = 'f'
	yardBulk   = 'b'
	yardRPC    = 'r'

	yardFile    = 'd'
	yardFileTLS = 't'
)

func serveYardsticks(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			if err := serveYardstick(conn); err != nil {
				fmt.Fprintln(os.Stderr, "yardstick:", err)
			}
			_ = conn.Close() // the benchmark sees it
		}()
	}
}

func serveYardstick(conn net.Conn) error {
	var kind [1]byte
	if _, err := io.ReadFull(conn, kind[:]); err != nil {
		return err
	}
	var err error
	switch kind[0] {
	case yardEcho:
		err = tcpEcho(conn)
	case yardFrames:
		err = countYard(conn, 64<<10, cborFrame)
	case yardBulk:
		err = countYard(conn, 4<<10, bulkFrame()) // large reads go past the buffer
	case yardRPC:
		var s *rpc.Server
		if s, err = newRPCServer(); err == nil {
			s.ServeConn(conn)
		}
	case yardFile:
		err = serveYardFile(conn)
	case yardFileTLS:
		err = serveYardFileTLS(conn)
	}
	return err
}

func tcpEcho(conn net.Conn) error {
	buf := make([]byte, 4<<10)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return nil //nolint:nilerr // the benchmark is over
		}
		if _, err := conn.Write(buf[:n]); err != nil {
			return err
		}
	}
}

// countYard reads a number and then that many frames, which are numbered in order. It answers with
// how many were right.
func countYard(conn net.Conn, buffer int, next func(r *bufio.Reader) (int, error)) error {
	r := bufio.NewReaderSize(conn, buffer)
	var head [8]byte
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return nil //nolint:nilerr // the benchmark is over
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

// yardSmall is LinkSmall as the yardstick encodes it: an array, which is smallest and fastest in
// cbor.
type yardSmall struct {
	_     struct{} `cbor:",toarray"`
	ID    int
	Name  string
	Value float64
}

// cborFrame reads a frame of the yardstick: two bytes with its length, and a small message.
func cborFrame(r *bufio.Reader) (int, error) {
	head, err := r.Peek(2)
	if err != nil {
		return 0, err
	}
	size := 2 + int(binary.BigEndian.Uint16(head))
	frame, err := r.Peek(size)
	if err != nil {
		return 0, err
	}
	var msg yardSmall
	if err := cbor.Unmarshal(frame[2:], &msg); err != nil {
		return 0, err
	}
	_, err = r.Discard(size)
	return msg.ID, err
}

// bulkFrame returns a function that reads 64 KiB into the same buffer each time.
func bulkFrame() func(r *bufio.Reader) (int, error) {
	buf := make([]byte, bulkSize)
	return func(r *bufio.Reader) (int, error) {
		_, err := io.ReadFull(r, buf)
		return int(binary.BigEndian.Uint64(buf)), err
	}
}

// linkPeer is the other side as this side sees it: handles of its coroutines, and the yardsticks'
// connections.
type linkPeer struct {
	rt                 *discoro.Runtime
	pid                int // of the other process
	echo, answer, bulk *discoro.Coro
	sinks              []*discoro.Coro

	tcpEcho, tcpFrames, tcpBulk net.Conn
	rpc                         *rpc.Client
}

// startLinkPeer starts the other side in a process, and connects to it.
func startLinkPeer(b *testing.B, secret string) *linkPeer {
	b.Helper()
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), linkPeerEnv+"=s"+secret)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	var addrs linkPeerAddrs
	if err := json.NewDecoder(out).Decode(&addrs); err != nil {
		b.Fatal(err)
	}
	p := connectLinkPeer(b, addrs, secret)
	p.pid = cmd.Process.Pid
	b.Cleanup(func() {
		if err := p.rt.Close(); err != nil {
			b.Error(err)
		}
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
	})
	return p
}

func connectLinkPeer(b *testing.B, addrs linkPeerAddrs, secret string) *linkPeer {
	b.Helper()
	rt, err := discoro.NewRuntime(discoro.Config{Addr: "127.0.0.1", Secret: secret, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(b.Context(), 30*time.Second)
	defer cancel()
	loc, err := rt.Connect(ctx, addrs.Runtime)
	if err != nil {
		b.Fatal(err)
	}
	p := &linkPeer{rt: rt}
	find := func(name string) *discoro.Coro {
		c, err := rt.Locate(ctx, name, loc)
		if err != nil {
			b.Fatal(err)
		}
		return c
	}
	p.echo, p.answer, p.bulk = find("echo"), find("answer"), find("bulk")
	for i := range linkSinks {
		p.sinks = append(p.sinks, find("sink-"+strconv.Itoa(i)))
	}
	dial := func(kind byte) net.Conn {
		conn, err := net.Dial("tcp", addrs.Yardsticks)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := conn.Write([]byte{kind}); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	p.tcpEcho, p.tcpFrames, p.tcpBulk = dial(yardEcho), dial(yardFrames), dial(yardBulk)
	p.rpc = rpc.NewClient(dial(yardRPC))
	b.Cleanup(func() { _ = p.rpc.Close() })
	return p
}

// yardEcho is linkPingPong with 64 bytes over bare TCP.
func (p *linkPeer) yardEcho(b *testing.B, n int) time.Duration {
	b.Helper()
	return roundTrips(b, p.tcpEcho, n)
}

// yardFrames is linkOneWay with cbor frames over bare TCP, in Writes of 64 KiB.
func (p *linkPeer) yardFrames(b *testing.B, n int) time.Duration {
	b.Helper()
	const most = 64 << 10
	start := time.Now()
	var buf bytes.Buffer
	buf.Write(binary.BigEndian.AppendUint64(nil, uint64(n)))
	for i := range n {
		at := buf.Len()
		buf.Write([]byte{0, 0})
		msg := smallMessage(i)
		if err := cbor.MarshalToBuffer(&yardSmall{ID: msg.ID, Name: msg.Name, Value: msg.Value}, &buf); err != nil {
			b.Fatal(err)
		}
		binary.BigEndian.PutUint16(buf.Bytes()[at:], uint16(buf.Len()-at-2))
		if buf.Len() > most-100 || i == n-1 {
			if _, err := p.tcpFrames.Write(buf.Bytes()); err != nil {
				b.Fatal(err)
			}
			buf.Reset()
		}
	}
	yardAnswer(b, p.tcpFrames, n)
	return time.Since(start)
}

// yardBulk is linkBulk over bare TCP.
func (p *linkPeer) yardBulk(b *testing.B, n int) time.Duration {
	b.Helper()
	blob := make([]byte, bulkSize)
	start := time.Now()
	if _, err := p.tcpBulk.Write(binary.BigEndian.AppendUint64(nil, uint64(n))); err != nil {
		b.Fatal(err)
	}
	for i := range n {
		binary.BigEndian.PutUint64(blob, uint64(i))
		if _, err := p.tcpBulk.Write(blob); err != nil {
			b.Fatal(err)
		}
	}
	yardAnswer(b, p.tcpBulk, n)
	return time.Since(start)
}

// yardAnswer waits until the other side has counted n right frames.
func yardAnswer(b *testing.B, conn net.Conn, n int) {
	b.Helper()
	var answer [8]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		b.Fatal(err)
	}
	if right := int(binary.BigEndian.Uint64(answer[:])); right != n {
		b.Fatalf("%d of %d frames were right", right, n)
	}
}
