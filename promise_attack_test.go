package discoro

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/discoro/discoro/internal/testkit"
	"github.com/discoro/discoro/wire"
)

// TestPromise11BadInput: nothing from a proven or unproven peer panics the process or makes it hold more than the stated
// bytes. Which attack is tried where, beside what is here:
//
//	memory that values take, claims in them        wire: TestBombs, TestMemory, TestCheck, FuzzDecodeAny, FuzzDecodeStruct
//	frames and parts that claim, or never end       wire: TestReaderRefusesClaims, TestPartsRefused, TestReaderGrowsWithBytes, FuzzReader
//	greetings of every wrong form                   wire: TestAcceptRefusesWhatIsNoKnock, TestBadHellosAreRefused, FuzzAccept
//	man in the middle, replayed and reflected proof wire: TestManInTheMiddle, TestReplayedKnock, TestReplayedAndReflectedHello
//	silent and slow peers                           wire: TestSilenceEndsAtTheDeadline, TestSlowPeerEndsAtTheDeadline
//	who differs in secrets or certificates          wire: TestProtectionsThatDiffer; TestConnectErrors
func TestPromise11BadInput(t *testing.T) {
	t.Parallel()
	t.Run("a thousand that never speak", silentStrangers)
	t.Run("strangers", strangers)
	t.Run("proven/garbage", garbageEndsTheLink)
	t.Run("proven/every frame", everyKindFromAnybody)
	t.Run("proven/frames about nothing", framesAboutNothing)
	t.Run("proven/bodies", badBodies)
	t.Run("proven/calls", callsOfOnePeerAreLimited)
	t.Run("proven/answers not read", peerThatAsksAndDoesNotRead)
	t.Run("proven/below our frames", yamuxIsNoWayAround)
	t.Run("proven/data for no stream", dataForNoStream)
	t.Run("proven/no stream", peerThatOpensNothing)
	t.Run("proven/forged end", forgedEnd)
	t.Run("proven/forged computation", forgedComputation)
	t.Run("proven/forged handle", madeUpHandle)
	t.Run("proven/guessed keys", guessedKeys)
	t.Run("proven/heads of files", hostileFiles)
	t.Run("proven/streams", hostileStreams)
	t.Run("proven/answers about files", hostileReceiver)
	t.Run("proven/forged files", forgedFiles)
	t.Run("secrets", secretIsNeverTold)
}

// preamble starts a message of a greeting.
func preamble(version, kind byte, size int) []byte {
	return binary.BigEndian.AppendUint16([]byte{0xd1, 's', 'c', 'o', version, kind}, uint16(size))
}

// knock is a whole one, with any proof.
func knock(proof []byte) []byte {
	body := append([]byte{0x81, 0x58, byte(len(proof))}, proof...)
	return append(preamble(wire.Protocol, 1, len(body)), body...)
}

// insideTLS starts a session as a dialer does who has no secret.
func insideTLS(t *testing.T, raw net.Conn, version uint16) (net.Conn, error) {
	t.Helper()
	conn := tls.Client(raw, &tls.Config{
		InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: version, NextProtos: []string{"discoro/1"},
	})
	return conn, conn.HandshakeContext(t.Context())
}

// caughtKnock has an honest runtime dial somebody who is not who it should be, and returns what it says there.
func caughtKnock(t *testing.T, honest *Runtime) []byte {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	connected := make(chan error, 1)
	go func() {
		_, err := honest.Connect(testkit.Context(t), ln.Addr().String())
		connected <- err
	}()
	raw, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	cert := testCerts(t).Certificates
	conn := tls.Server(raw, &tls.Config{Certificates: cert, NextProtos: []string{"discoro/1"}, MinVersion: tls.VersionTLS13})
	said := make([]byte, len(knock(make([]byte, 32))))
	if _, err := io.ReadFull(conn, said); err != nil {
		t.Fatal(err)
	}
	raw.Close()
	if err := testkit.Next(t, connected); err == nil {
		t.Error("an honest runtime has a link to a stranger")
	}
	return said
}

// strangers try to get in where there is a secret that they do not have. Each is refused, in bounded time, and learns
// nothing; an honest peer's link does not notice.
func strangers(t *testing.T) {
	t.Parallel()
	const secret = "a secret that no stranger has"
	log := &testkit.Log{}
	cfg := Config{Name: "name-to-hide", Addr: "127.0.0.1", Secret: secret, Logger: log.Logger()}
	rt := testRuntime(t, cfg)
	cfg.Name = "honest"
	honest := testRuntime(t, cfg)
	connect(t, honest, rt.loc)
	if err := spawnEcho(rt, "echo-to-hide"); err != nil {
		t.Fatal(err)
	}
	echo := locate(t, honest, rt, "echo-to-hide")
	l := upLink(t, honest, rt)
	caught := caughtKnock(t, honest)
	begun := time.Now()
	inside := func(say []byte) func(t *testing.T, raw net.Conn) net.Conn {
		return func(t *testing.T, raw net.Conn) net.Conn {
			t.Helper()
			conn, err := insideTLS(t, raw, tls.VersionTLS13)
			if err != nil {
				t.Error(err)
				return raw
			}
			_, _ = conn.Write(say)
			return conn
		}
	}
	plain := func(say []byte) func(t *testing.T, raw net.Conn) net.Conn {
		return func(_ *testing.T, raw net.Conn) net.Conn {
			_, _ = raw.Write(say)
			return raw
		}
	}
	oversized := append(preamble(wire.Protocol, 1, 65535), make([]byte, 2000)...)
	for name, attack := range map[string]func(t *testing.T, raw net.Conn) net.Conn{
		"no TLS":            plain(knock(nil)),
		"HTTP":              plain([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")),
		"half a TLS record": plain([]byte{0x16, 3, 1, 2, 0, 1}),
		"TLS 1.2": func(t *testing.T, raw net.Conn) net.Conn {
			t.Helper()
			if _, err := insideTLS(t, raw, tls.VersionTLS12); err == nil {
				t.Error("TLS 1.2 is accepted")
			}
			return raw
		},
		"no secret":         inside(append(preamble(wire.Protocol, 1, 2), 0x81, 0x40)),
		"a guess":           inside(knock(bytes.Repeat([]byte{7}, 32))),
		"a replayed knock":  inside(caught),
		"a truncated knock": inside(caught[:20]),
		"an oversized one":  inside(oversized),
		"another version":   inside(append(preamble(wire.Protocol+1, 1, 2), 0x81, 0x40)),
		"an older version":  inside(append(preamble(0, 1, 2), 0x81, 0x40)),
		"a hello at once":   inside(append(preamble(wire.Protocol, 2, 2), 0x81, 0x40)),
		"frames at once":    inside(bytes.Repeat([]byte{0, 0, 0, 2, 8, 0x81, 1}, 100)),
	} {
		raw, err := net.Dial("tcp", rt.loc.String())
		if err != nil {
			t.Fatal(err)
		}
		conn := attack(t, raw)
		if tcp := raw.(*net.TCPConn); strings.Contains(name, "trunc") || strings.Contains(name, "half") {
			_ = tcp.CloseWrite() // it has said all that it has to say
		}
		_ = raw.SetReadDeadline(time.Now().Add(testkit.Patience))
		heard, err := io.ReadAll(io.LimitReader(conn, 1<<20))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the connection is still open", name)
		}
		for _, hidden := range []string{"name-to-hide", "echo-to-hide", secret, "127.0.0.1", rt.build} {
			if hidden != "" && bytes.Contains(heard, []byte(hidden)) {
				t.Errorf("%s: a stranger has heard %q in %q", name, hidden, heard)
			}
		}
		if len(heard) > 2*wire.MaxHello {
			t.Errorf("%s: a stranger has heard %d bytes", name, len(heard))
		}
		raw.Close()
	}
	if n, most := log.Count("refused a connection"), 2+int(time.Since(begun).Seconds()); n == 0 || n > most {
		t.Errorf("%d lines of one address, of at most %d", n, most)
	}
	if text := log.String(); strings.Contains(text, secret) || strings.Contains(text, "panic") {
		t.Errorf("the log has the secret, or a panic:\n%s", text)
	}
	testkit.Eventually(t, "they are forgotten", func() bool { return rt.net.Unproven() == 0 })
	if n := len(rt.net.All()); n != 1 {
		t.Errorf("%d links, want that of the honest peer", n)
	}
	if n, err := Ask[int](testkit.Context(t), echo, 5); n != 5 || err != nil || upLink(t, honest, rt) != l {
		t.Errorf("the honest peer: %d, %v", n, err)
	}
}

// sendInParts sends one frame, cut as frames of its size must be.
func (h *hostile) sendInParts(f wire.Frame) {
	h.t.Helper()
	frame, err := wire.AppendFrame(nil, f)
	if err != nil {
		h.t.Fatal(err)
	}
	if len(frame) > wire.PartSize {
		h.parts++
		var cut []byte
		for piece := range slices.Chunk(frame, wire.PartSize) {
			cut = append(wire.AppendPart(cut, h.parts, len(piece)), piece...)
		}
		frame = cut
	}
	_, _ = h.frames.Write(frame)
}

// badBodies come in good frames from a proven peer: whoever receives them has an error for each, and all else goes on.
func badBodies(t *testing.T) {
	t.Parallel()
	rt := testRuntime(t, Config{})
	errs := make(chan error, 1)
	c := rt.Spawn("receives", func(c *Coro) (any, error) {
		for {
			msg, err := c.Receive()
			if errors.Is(err, ErrTerminated) {
				return nil, err
			}
			if err == nil && msg != "good" {
				err = errors.New("it was decoded")
			}
			errs <- err
		}
	})
	good, err := rt.encodeMessage("good")
	if err != nil {
		t.Fatal(err)
	}
	h := newHostile(t, rt, false)
	l := h.link(rt)
	claim := func(major byte) []byte { return []byte{major<<5 | 27, 0x80, 0, 0, 0, 0, 0, 0, 0} }
	keys := func(n int, key func(i int) []byte) []byte {
		b := binary.BigEndian.AppendUint32([]byte{0xba}, uint32(n))
		for i := range n {
			b = append(append(b, key(i)...), 0)
		}
		return b
	}
	number := func(i int) []byte { return binary.BigEndian.AppendUint32([]byte{0x1a}, uint32(i)) }
	text := func(i int) []byte {
		return append([]byte{0x64}, binary.BigEndian.AppendUint32(nil, 0x41414141+uint32(i%20))...)
	}
	for name, body := range map[string][]byte{
		"nothing":               {},
		"null and more":         {0xf6, 0xf6},
		"bytes of 2^63":         claim(2),
		"text of 2^63":          claim(3),
		"array of 2^63":         claim(4),
		"map of 2^63":           claim(5),
		"nested arrays":         bytes.Repeat([]byte{0x81}, 1<<20),
		"nested maps":           bytes.Repeat([]byte{0xa1, 0x61, 'k'}, 1<<18),
		"nested tags":           bytes.Repeat([]byte{0xc1}, 1<<20),
		"without an end":        bytes.Repeat([]byte{0x9f}, 1<<10),
		"a flood of keys":       keys(1<<20, number), // numbers are no keys of map[string]any
		"one key many times":    keys(1<<18, text),
		"2^24 items":            append([]byte{0x9a, 1, 0, 0, 1}, make([]byte, 1<<24+1)...),
		"an unknown type":       append([]byte{0xd8, 0xe0, 0x82, 0x67}, "no.such\xf6"...),
		"a type of many levels": append([]byte{0xd8, 0xe0, 0x82, 0x78, 63}, strings.Repeat("[]", 30)+"int\xf6"...),
		"a forged handle":       {0xd8, 0xf8, 0x81, 0},
		"not UTF-8":             {0x61, 0xff},
	} {
		h.sendInParts(&wire.Message{To: publicKey(c), Body: body})
		if err := testkit.Next(t, errs); err == nil || err.Error() == "it was decoded" {
			t.Errorf("%s: %v", name, err)
		}
		h.send(&wire.Message{To: publicKey(c), Body: good})
		if err := testkit.Next(t, errs); err != nil {
			t.Errorf("after %s: %v", name, err)
		}
	}
	if l.Cause() != nil {
		t.Errorf("the link has ended: %v", l.Cause())
	}
	stillServes(t, rt)
}

// forgedComputation has a proven peer act for a computation whose token it does not have, at scheduler, node and server.
func forgedComputation(t *testing.T) {
	t.Parallel()
	ctx := testkit.Context(t)
	sched, err := NewScheduler(SchedulerConfig{Config: Config{Logger: discard}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sched.Close() })
	node, err := NewNode(NodeConfig{Config: Config{Logger: discard, Peers: []string{sched.Location().String()}}, Servers: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { node.Close() })
	comp, err := NewComputation(sched.Runtime)
	if err == nil {
		err = comp.Schedule(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	co, err := comp.Run(ctx, forgedWait.With(None{}))
	if err != nil {
		t.Fatal(err)
	}
	token := wire.Token(wire.NewID())
	mine := wire.JobID{Client: wire.NewID(), Seq: 1}
	call := wire.FuncCall{Func: forgedWait.name, Arg: []byte{0xf6}}
	for _, at := range []Location{sched.Location(), node.Location(), co.Location()} {
		raw, err := net.Dial("tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		h, err := greetHostile(t, raw, nil, false)
		if err != nil {
			t.Fatal(err)
		}
		h.send(
			&wire.Run{Token: token, Job: mine, Call: call},
			&wire.Start{Token: token, Job: mine, Call: call},
			&wire.Unrun{Token: token, Job: co.job.id},
			&wire.Unstart{Token: token, Job: co.job.id},
			&wire.Freed{Token: token, Job: co.job.id},
			&wire.Heard{Token: token, Jobs: 1},
			&wire.Unheard{Job: co.job.id},
			&wire.Done{Token: token, Job: co.job.id},
			&wire.Release{Token: token},
			&wire.Released{Token: token, Reason: "forged"},
			&wire.CloseServer{Token: token},
			&wire.ServerDone{Token: token},
			&wire.CloseComputation{Token: token},
			&wire.Locate{Call: 99, Name: "nobody"},
		)
		for r := wire.NewReader(h.frames, 1<<20); ; {
			f, _, err := r.Next()
			if err != nil {
				t.Fatalf("at %v: %v", at, err)
			}
			if _, ok := f.(*wire.Started); ok {
				t.Errorf("at %v: a forged run has started", at)
			}
			if reply, ok := f.(*wire.Reply); ok && reply.Call == 99 {
				break
			}
		}
		h.session.Close()
	}
	if err := co.Send("real"); err != nil {
		t.Fatal(err)
	}
	if v, err := Result[any](ctx, co); v != "real" || err != nil {
		t.Errorf("result %v, %v", v, err)
	}
	again, err := comp.Run(ctx, forgedWait.With(None{}))
	if err == nil {
		err = again.Terminate()
	}
	if err != nil {
		t.Errorf("the computation goes on: %v", err)
	}
}
