package wire

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/discoro/discoro/internal/stopwatch"
)

func TestGreetingTellsEachTheOther(t *testing.T) {
	t.Parallel()
	for name, p := range allKinds(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var order []string
			dc, lc := tcpPair(t)
			own := [2]Hello{testHello("dialer"), testHello("listener")}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan greetingResult, 1)
			go func() {
				conn, peer, err := Accept(ctx, lc, p,
					func() Hello { order = append(order, "own"); return own[1] },
					func(peer Hello) *Refusal { order = append(order, "admit "+peer.Name); return nil })
				done <- greetingResult{conn, peer, err}
			}()
			var admitted Hello
			d := <-dialing(ctx, dc, greeter{p, own[0], func(peer Hello) *Refusal { admitted = peer; return nil }})
			l := <-done
			if d.err != nil || l.err != nil {
				t.Fatalf("dialer: %v; listener: %v", d.err, l.err)
			}
			if diff := cmp.Diff([]Hello{own[1], own[1], own[0]}, []Hello{d.peer, admitted, l.peer}); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff([]string{"own", "admit dialer"}, order); diff != "" {
				t.Error(diff)
			}
			if plain := d.conn == dc && l.conn == lc; plain != (p == nil) {
				t.Errorf("connections are %T and %T", d.conn, l.conn)
			}
			cancel() // has no effect on the connection any more
			wantEcho(t, d.conn, l.conn)
		})
	}
}

// A peer may send its first bytes right after the greeting, in the same segment.
func TestGreetingReadsNothingBehindIt(t *testing.T) {
	t.Parallel()
	const stream = "first bytes of the stream"
	for name, p := range allKinds(t) {
		hello, welcome := greetingMessage(t, greetHello, helloBody{Hello: testHello("peer")}), greetingMessage(t, greetWelcome, nil)
		tests := []struct {
			name string
			run  func(t *testing.T) (net.Conn, net.Conn, error)
		}{
			{"welcome", func(t *testing.T) (net.Conn, net.Conn, error) {
				t.Helper()
				dc, lc := tcpPair(t)
				done := dialing(t.Context(), dc, greeter{p: p, own: testHello("dialer")})
				g := scripted(t, lc, p, false)
				hear(t, g.conn)
				proof, _ := g.proof(proofOfServer)
				say(t, g.conn, greetingMessage(t, greetHello, helloBody{Proof: proof, Hello: testHello("listener")}))
				hear(t, g.conn)
				say(t, g.conn, append(bytes.Clone(welcome), stream...))
				d := <-done
				return d.conn, g.conn, d.err
			}},
			{"hello", func(t *testing.T) (net.Conn, net.Conn, error) {
				t.Helper()
				dc, lc := tcpPair(t)
				done := accepting(t.Context(), lc, greeter{p: p, own: testHello("listener")})
				g := scripted(t, dc, p, true)
				if err := g.knock(); err != nil {
					t.Fatal(err)
				}
				hear(t, g.conn)
				say(t, g.conn, append(bytes.Clone(hello), stream...))
				l := <-done
				return l.conn, g.conn, l.err
			}},
		}
		for _, tt := range tests {
			t.Run(name+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				conn, other, err := tt.run(t)
				if err != nil {
					t.Fatal(err)
				}
				got := make([]byte, len(stream))
				if _, err := io.ReadFull(conn, got); err != nil || string(got) != stream {
					t.Errorf("got %q, %v", got, err)
				}
				if tt.name == "hello" {
					hear(t, other)
				}
				wantEcho(t, conn, other)
			})
		}
	}
}

func TestAdmitRefusalReachesTheOtherSide(t *testing.T) {
	t.Parallel()
	no := func(Hello) *Refusal {
		return &Refusal{Code: RefuseDuplicate, Text: "there is a link already", Remote: true}
	}
	for name, p := range allKinds(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, l := greetBoth(t, greeter{p, testHello("dialer"), nil}, greeter{p, testHello("listener"), no})
			wantRefusal(t, d.err, RefuseDuplicate, true, "there is a link already")
			wantRefusal(t, l.err, RefuseDuplicate, false, "there is a link already")

			d, l = greetBoth(t, greeter{p, testHello("dialer"), no}, greeter{p, testHello("listener"), nil})
			wantRefusal(t, d.err, RefuseDuplicate, false, "there is a link already")
			wantRefusal(t, l.err, RefuseDuplicate, true, "there is a link already")
		})
	}
}

func TestGreetingOneself(t *testing.T) {
	t.Parallel()
	own := testHello("self")
	for name, p := range allKinds(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, l := greetBoth(t, greeter{p: p, own: own}, greeter{p: p, own: own})
			wantRefusal(t, d.err, RefuseSelf, false, "itself")
			wantRefusal(t, l.err, RefuseSelf, true, "itself")
		})
	}
	// A peer that sends our own hello back.
	dc, lc := tcpPair(t)
	done := accepting(t.Context(), lc, greeter{own: own})
	say(t, dc, greetingMessage(t, greetKnock, knockBody{}))
	_, body := hear(t, dc)
	say(t, dc, greetingBytes(Protocol, greetHello, body))
	if r := hearRefusal(t, dc); r.Code != RefuseSelf {
		t.Errorf("heard %v", r)
	}
	dc.Close()
	wantRefusal(t, (<-done).err, RefuseSelf, false, "itself")
}

// The dialer has gone, or the time is up, between admit and the verdict.
func TestVerdictThatCannotBeSent(t *testing.T) {
	t.Parallel()
	for name, p := range allKinds(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dc, lc := tcpPair(t)
			ctx, cancel := context.WithCancel(t.Context())
			admit := func(Hello) *Refusal {
				cancel()
				_ = lc.SetWriteDeadline(time.Unix(1, 0)) // cancel does the same, a moment later
				return nil
			}
			d := dialing(t.Context(), dc, greeter{p: p, own: testHello("dialer")})
			_, _, err := Accept(ctx, lc, p, func() Hello { return testHello("listener") }, admit)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("error is %v", err)
			}
			if err := (<-d).err; err == nil {
				t.Error("the dialer has a link")
			}
		})
	}
}

func TestVersionsThatDoNotFit(t *testing.T) {
	t.Parallel()
	t.Run("dialer is newer", func(t *testing.T) {
		t.Parallel()
		dc, lc := tcpPair(t)
		done := accepting(t.Context(), lc, greeter{own: testHello("listener")})
		say(t, dc, greetingBytes(9, 77, []byte("a message of another time")))
		r := hearRefusal(t, dc)
		dc.Close()
		wantRefusal(t, r, RefuseProtocol, false, "speaks protocol 1 of discoro, the other protocol 9")
		wantRefusal(t, (<-done).err, RefuseProtocol, false, r.Text)
	})
	t.Run("listener is newer", func(t *testing.T) {
		t.Parallel()
		dc, lc := tcpPair(t)
		done := dialing(t.Context(), dc, greeter{own: testHello("dialer")})
		hear(t, lc)
		say(t, lc, greetingBytes(9, greetRefuse, append([]byte{byte(RefuseProtocol)}, "protocols 9 and 1\nunder\x1b[2J way"...)))
		wantRefusal(t, (<-done).err, RefuseProtocol, true, "protocols 9 and 1\uFFFDunder\uFFFD[2J way")
	})
	t.Run("listener is newer and goes on", func(t *testing.T) {
		t.Parallel()
		dc, lc := tcpPair(t)
		done := dialing(t.Context(), dc, greeter{own: testHello("dialer")})
		hear(t, lc)
		say(t, lc, greetingBytes(9, greetHello, []byte{0x80}))
		r := hearRefusal(t, lc)
		lc.Close()
		wantRefusal(t, r, RefuseProtocol, false, "protocol 9")
		wantRefusal(t, (<-done).err, RefuseProtocol, false, "protocol 9")
	})
	t.Run("newer under TLS", func(t *testing.T) {
		t.Parallel()
		p := withSecret(t, "right")
		dc, lc := tcpPair(t)
		done := accepting(t.Context(), lc, greeter{p: p, own: testHello("listener")})
		g := scripted(t, dc, p, true)
		say(t, g.conn, greetingBytes(9, greetKnock, nil))
		r := hearRefusal(t, g.conn)
		dc.Close()
		wantRefusal(t, r, RefuseProtocol, false, "protocol 9")
		wantRefusal(t, (<-done).err, RefuseProtocol, false, "protocol 9")
	})
}

func TestSilenceEndsAtTheDeadline(t *testing.T) {
	t.Parallel()
	starts := map[string]func(context.Context, net.Conn, greeter) <-chan greetingResult{"dial": dialing, "accept": accepting}
	for kind, p := range allKinds(t) {
		for name, start := range starts {
			t.Run(kind+"/"+name, func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				defer cancel()
				near, far := tcpPair(t)
				err := (<-start(ctx, near, greeter{p: p, own: testHello("me")})).err
				if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.Is(err, context.DeadlineExceeded) ||
					!strings.Contains(err.Error(), "peer said nothing within") {
					t.Errorf("error is %v", err)
				}
				wantClosed(t, far)

				ctx, cancel = context.WithCancel(t.Context())
				near, far = tcpPair(t)
				done := start(ctx, near, greeter{p: p, own: testHello("me")})
				cancel()
				if err := (<-done).err; !errors.Is(err, context.Canceled) {
					t.Errorf("error is %v", err)
				}
				wantClosed(t, far)
			})
		}
	}
}

// In fake time: how long the whole greeting may take, and how long a refused peer is waited for.
func TestGreetingClock(t *testing.T) {
	t.Parallel()
	for name, p := range allKinds(t) {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			defer far.Close()
			start := time.Now()
			_, _, err := Accept(t.Context(), near, p, nil, nil)
			if err == nil || !strings.Contains(err.Error(), "peer said nothing within 5s, while we waited for anything") {
				t.Errorf("%s: error is %v", name, err)
			}
			if d := time.Since(start); d != HandshakeTimeout {
				t.Errorf("%s: it took %v", name, d)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		start := time.Now()
		done := accepting(t.Context(), near, greeter{own: testHello("listener")})
		say(t, far, greetingBytes(9, greetKnock, nil))
		if r := hearRefusal(t, far); r.Code != RefuseProtocol { // and neither closes nor sends more
			t.Errorf("heard %v", r)
		}
		wantRefusal(t, (<-done).err, RefuseProtocol, false, "protocol 9")
		if d := time.Since(start); d != lingerTime {
			t.Errorf("it took %v", d)
		}
	})
}

// A peer that keeps sending single bytes does not move the deadline.
func TestSlowPeerEndsAtTheDeadline(t *testing.T) {
	t.Parallel()
	for _, refusing := range []bool{false, true} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		dc, lc := tcpPair(t)
		done := accepting(ctx, lc, greeter{own: testHello("listener")})
		go func() {
			if refusing { // the same bounds the wait after a refusal
				if _, err := dc.Write(greetingBytes(9, greetKnock, nil)); err != nil {
					return
				}
			}
			msg := greetingBytes(Protocol, greetKnock, make([]byte, MaxHello-greetingHead))
			for tick := time.NewTicker(5 * time.Millisecond); len(msg) > 0; msg = msg[1:] {
				<-tick.C
				if _, err := dc.Write(msg[:1]); err != nil {
					return
				}
			}
		}()
		watch := stopwatch.Start(t)
		err := (<-done).err
		if !refusing && !strings.Contains(err.Error(), "peer did not finish within ") {
			t.Errorf("error is %v", err)
		}
		if late := errors.Is(err, os.ErrDeadlineExceeded); err == nil || late == refusing {
			t.Errorf("error is %v", err)
		}
		watch.Within("it", 3*time.Second)
	}
}

func TestWordsOfErrors(t *testing.T) {
	t.Parallel()
	dc, lc := tcpPair(t)
	done := accepting(t.Context(), lc, greeter{own: testHello("listener")})
	dc.Close()
	if err := (<-done).err; !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "closed the connection") {
		t.Errorf("error is %v", err)
	}
	for _, own := range []Hello{{}, {ID: NewID()}, {ID: NewID(), Pulse: 1, Host: strings.Repeat("h", 257)}} {
		dc, lc := tcpPair(t)
		if _, _, err := Dial(t.Context(), dc, nil, own, nil); err == nil || !strings.Contains(err.Error(), "own hello: its ") {
			t.Errorf("error is %v", err)
		}
		wantClosed(t, lc)
	}
	if got, want := (&Refusal{Code: 42, Text: "why"}).Error(), "refused the peer (code 42): why"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// BenchmarkConnect measures TCP connect and greeting, for both sides.
func BenchmarkConnect(b *testing.B) {
	for name, p := range allKinds(b) {
		b.Run(name, func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			dialer, listener := testHello("dialer"), testHello("listener")
			for b.Loop() {
				dc, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					b.Fatal(err)
				}
				lc, err := l.Accept()
				if err != nil {
					b.Fatal(err)
				}
				done := accepting(b.Context(), lc, greeter{p: p, own: listener})
				conn, _, err := Dial(b.Context(), dc, p, dialer, nil)
				if err != nil {
					b.Fatal(err)
				}
				(<-done).conn.Close()
				conn.Close()
			}
		})
	}
}

// TestDialHungUp ends a connection while the dialer writes, as a busy listener does. That is no
// refusal, and a dialer tries again.
func TestDialHungUp(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]*Protection{"in clear": nil, "protected": protection(t, "", oneCA().config(oneCA()))} {
		for _, cause := range []error{syscall.EPIPE, syscall.ECONNRESET, &net.OpError{Op: "write", Err: syscall.EPIPE}} {
			near, far := net.Pipe()
			_, _, err := Dial(t.Context(), &mutedConn{Conn: near, err: cause}, p, testHello("a"), func(Hello) *Refusal { return nil })
			if r := (*Refusal)(nil); errors.As(err, &r) || !errors.Is(err, cause) {
				t.Errorf("%s: %v came as %v", name, cause, err)
			}
			_ = far.Close()
		}
	}
}

// mutedConn is a connection whose writes fail.
type mutedConn struct {
	net.Conn

	err error
}

// Write implements [net.Conn].
func (c *mutedConn) Write([]byte) (int, error) { return 0, c.err }
