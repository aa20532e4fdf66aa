package wire

import (
	"context"
	"crypto/hmac"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// Protocol is the version of everything that is sent on a link. Two sides with different versions
// refuse each other.
const Protocol = 1

// MaxHello is the largest greeting message with its preamble, in bytes. A message that claims more
// is refused without being read.
const MaxHello = 1024

// HandshakeTimeout bounds the whole greeting with the TLS handshake.
const HandshakeTimeout = 5 * time.Second

// After a refusal the connection stays open until the peer has read it and closes, but at most this
// long and for this many bytes. A socket that is closed with unread bytes resets the connection,
// and the peer might get the reset before the refusal.
const (
	lingerTime  = time.Second
	lingerBytes = 16 << 10
)

// tlsRecord is the first byte of a TLS connection: a handshake record.
const tlsRecord = 0x16

// greeting is one greeting in progress. It belongs to one goroutine.
type greeting struct {
	raw    net.Conn      // immutable: the connection below TLS
	p      *Protection   // immutable; nil: a plain link
	cause  func() error  // immutable: returns why the time is up; nil while it is not
	stop   func()        // immutable: stops the clock, which sets no deadline of raw afterwards
	limit  time.Duration // immutable: how long the clock runs
	conn   net.Conn      // raw, or TLS on top of it once the TLS handshake is done
	tls    *tls.Conn     // conn, if that is TLS
	ahead  []byte        // bytes that were read from raw to see what they are
	heard  bool          // the peer has sent something
	proven bool          // the peer has proved itself; always true on a plain link
	mute   bool          // the peer would not understand a refusal
}

// Dial greets as the side that has dialled. It takes at most [HandshakeTimeout], or less if ctx
// ends earlier. The clock starts when the key of p is ready (see [Protection.Ready]).
//
// Dial calls admit once, with the listener's hello, after the listener has proved itself. A refusal
// that admit returns is sent to the listener and is the error of Dial. The listener decides after
// that: if admit has returned nil and Dial returns an error, the caller undoes what admit did. A
// nil admit accepts every peer.
//
// On success Dial returns raw itself for a plain link, else a [*tls.Conn], with no deadline; its
// next byte is the first one after the greeting. On an error raw is closed. The error is a
// [*Refusal] if either side refused. If the peer was silent or slow, it wraps
// [os.ErrDeadlineExceeded] and the error of ctx. If ctx was cancelled, it is the error of ctx.
// Otherwise it is the error of raw.
func Dial(ctx context.Context, raw net.Conn, p *Protection, own Hello,
	admit func(peer Hello) *Refusal,
) (net.Conn, Hello, error) {
	g, err := newGreeting(ctx, raw, p)
	if err != nil {
		return nil, Hello{}, err
	}
	peer, err := g.dial(own, admit)
	return g.end(peer, err)
}

// Accept greets as the side that has listened, with the same clock, connection and errors as
// [Dial].
//
// Accept calls own just before it sends this side's hello, after the dialer has proved itself. It
// calls admit once, with the dialer's hello, right before it sends the verdict. A refusal that
// admit returns is sent to the dialer and is the error of Accept. If admit has returned nil and the
// verdict could not be sent, Accept returns an error, and the caller undoes what admit did. A nil
// admit accepts every peer.
func Accept(ctx context.Context, raw net.Conn, p *Protection, own func() Hello,
	admit func(peer Hello) *Refusal,
) (net.Conn, Hello, error) {
	g, err := newGreeting(ctx, raw, p)
	if err != nil {
		return nil, Hello{}, err
	}
	peer, err := g.accept(own, admit)
	return g.end(peer, err)
}

// newGreeting starts the clock. After stop has returned, the function for the end of ctx does not
// run.
func newGreeting(ctx context.Context, raw net.Conn, p *Protection) (*greeting, error) {
	if err := p.Ready(ctx); err != nil {
		raw.Close()
		return nil, fmt.Errorf("greeting given up while we waited for the secret's key: %w", err)
	}
	limit := HandshakeTimeout
	if end, ok := ctx.Deadline(); ok {
		limit = max(0, min(limit, time.Until(end)))
	}
	ctx, cancel := context.WithTimeout(ctx, HandshakeTimeout)
	expired := make(chan struct{})
	unhook := context.AfterFunc(ctx, func() {
		defer close(expired)
		_ = raw.SetDeadline(time.Unix(1, 0)) // unblocks reads and writes of raw
	})
	stop := func() {
		if !unhook() {
			<-expired
		}
		cancel()
	}
	return &greeting{raw: raw, p: p, cause: ctx.Err, stop: stop, limit: limit, conn: raw, proven: p == nil}, nil
}

// dial is the dialer's side of the greeting, in order.
func (g *greeting) dial(own Hello, admit func(Hello) *Refusal) (Hello, error) {
	own, err := own.sendable()
	if err != nil {
		return Hello{}, err
	}
	if err := g.startTLS(true); err != nil {
		return Hello{}, err
	}
	if err := g.knock(); err != nil {
		return Hello{}, err
	}
	listener, err := g.readHello("its hello")
	if err != nil {
		return Hello{}, err
	}
	if err := g.check(proofOfServer, listener.Proof); err != nil {
		return Hello{}, err
	}
	if err := admitted(listener.Hello, own, admit); err != nil {
		return Hello{}, err
	}
	if err := g.write(greetHello, helloBody{Hello: own}); err != nil {
		return Hello{}, err
	}
	_, err = g.read("its verdict", greetWelcome)
	return listener.Hello, err
}

// accept is the listener's side of the greeting, in order.
func (g *greeting) accept(own func() Hello, admit func(Hello) *Refusal) (Hello, error) {
	if err := g.detect(); err != nil {
		return Hello{}, err
	}
	body, err := g.read("its knock", greetKnock)
	if err != nil {
		return Hello{}, err
	}
	var knock knockBody
	if err := decodeGreeting(body, &knock); err != nil {
		return Hello{}, err
	}
	if err := g.check(proofOfClient, knock.Proof); err != nil {
		return Hello{}, err
	}
	self, err := own().sendable()
	if err != nil {
		return Hello{}, err
	}
	proof, err := g.proof(proofOfServer)
	if err != nil {
		return Hello{}, err
	}
	if err := g.write(greetHello, helloBody{Proof: proof, Hello: self}); err != nil {
		return Hello{}, err
	}
	dialer, err := g.readHello("its hello")
	if err != nil {
		return Hello{}, err
	}
	if len(dialer.Proof) > 0 {
		return Hello{}, malformedGreeting("a second proof")
	}
	if err := admitted(dialer.Hello, self, admit); err != nil {
		return Hello{}, err
	}
	return dialer.Hello, g.write(greetWelcome, nil)
}

// admitted refuses this runtime itself, and every peer that admit refuses. It returns an error that
// is nil, never one that holds a nil *Refusal.
func admitted(peer, own Hello, admit func(Hello) *Refusal) error {
	if peer.ID == own.ID {
		return &Refusal{Code: RefuseSelf, Text: "that is this runtime itself"}
	}
	if admit == nil {
		return nil
	}
	if r := admit(peer); r != nil {
		return &Refusal{Code: r.Code, Text: r.Text}
	}
	return nil
}

// detect reads the first byte, which distinguishes TLS from a greeting in clear, and starts TLS if
// both sides want it.
func (g *greeting) detect() error {
	head := make([]byte, greetingHead)
	if err := g.readFull("anything", head[:1]); err != nil {
		return err
	}
	switch {
	case g.p == nil && head[0] == tlsRecord:
		return &Refusal{Code: RefuseMismatch, Text: textPlainListener}
	case g.p == nil:
		g.ahead = head[:1]
		return nil
	case head[0] == tlsRecord:
		g.ahead = head[:1]
		return g.startTLS(false)
	}
	// A dialer without TLS. It gets an answer if it is a runtime of discoro.
	if err := g.readFull("its knock", head[1:]); err != nil {
		return err
	}
	if _, _, err := g.parsePreamble(head); err != nil {
		return err
	}
	return &Refusal{Code: RefuseUnauthorized, Text: g.p.wants()}
}

// startTLS does the TLS handshake on a protected link. The greeting goes on inside TLS.
func (g *greeting) startTLS(dialing bool) error {
	if g.p == nil {
		return nil
	}
	if dialing {
		g.tls = tls.Client(&GatherConn{Conn: g.raw}, g.p.client)
	} else {
		g.tls = tls.Server(&GatherConn{Conn: &aheadConn{Conn: g.raw, ahead: g.ahead}}, g.p.server)
		g.ahead = nil
	}
	err := g.tls.Handshake()
	if err != nil {
		g.mute = true // TLS has sent an alert, and the peer would understand nothing but TLS
		return g.failed("the end of the TLS handshake", err)
	}
	g.conn = g.tls
	if g.tls.ConnectionState().NegotiatedProtocol != alpn {
		return &Refusal{Code: RefuseProtocol, Text: "that is TLS, but not discoro: ALPN " + alpn + " is missing"}
	}
	g.proven = g.p.key == nil
	return nil
}

// knock sends the first message of the dialer.
func (g *greeting) knock() error {
	proof, err := g.proof(proofOfClient)
	if err != nil {
		return err
	}
	return g.write(greetKnock, knockBody{Proof: proof})
}

// proof returns the proof of one role in this session; nil without a secret.
func (g *greeting) proof(label string) ([]byte, error) {
	if g.p == nil || g.p.key == nil {
		return nil, nil
	}
	return g.p.prove(g.tls, label)
}

// check checks the proof that the peer gave for the role of label. The refusal that the peer
// receives does not depend on the secret.
func (g *greeting) check(label string, got []byte) error {
	want, err := g.proof(label)
	switch {
	case err != nil:
		return err
	case want == nil && len(got) > 0:
		return &Refusal{Code: RefuseMismatch, Text: "one side has a secret and the other none: " + sameSecret}
	case want != nil && len(got) == 0:
		return &Refusal{Code: RefuseUnauthorized, Text: "a secret is needed as well: " + sameSecret}
	case !hmac.Equal(want, got):
		return &Refusal{Code: RefuseUnauthorized, Text: "the secrets differ: " + sameSecret}
	}
	g.proven = true
	return nil
}

// readHello reads a hello message, and checks everything in it that can be checked without context.
func (g *greeting) readHello(step string) (helloBody, error) {
	body, err := g.read(step, greetHello)
	if err != nil {
		return helloBody{}, err
	}
	var h helloBody
	if err := decodeGreeting(body, &h); err != nil {
		return helloBody{}, err
	}
	if fault := h.Hello.fault(); fault != "" {
		return helloBody{}, malformedGreeting(fault)
	}
	return h, nil
}

// read reads one message, which must be of that kind, and no byte after it. Errors name the step.
func (g *greeting) read(step string, want greetingKind) ([]byte, error) {
	var head [greetingHead]byte
	if err := g.readFull(step, head[:]); err != nil {
		return nil, err
	}
	kind, n, err := g.parsePreamble(head[:])
	if err != nil {
		return nil, err
	}
	body := make([]byte, n) // at most MaxHello
	if err := g.readFull(step, body); err != nil {
		return nil, err
	}
	switch {
	case kind == greetRefuse:
		return nil, decodeRefusal(body, g.proven)
	case kind != want:
		return nil, malformedGreeting(fmt.Sprintf("message %d where %d is due", kind, want))
	case kind == greetWelcome && n > 0:
		return nil, malformedGreeting("a welcome with a body")
	}
	return body, nil
}

// parsePreamble parses the first 8 bytes of a message. A peer whose bytes are not those of a
// greeting gets no answer.
func (g *greeting) parsePreamble(head []byte) (greetingKind, int, error) {
	version, kind, n := head[4], greetingKind(head[5]), int(binary.BigEndian.Uint16(head[6:]))
	switch {
	case string(head[:len(greetingMagic)]) != greetingMagic:
		g.mute = true
		return 0, 0, malformedGreeting(fmt.Sprintf("it starts with % x", head))
	case kind != greetRefuse && version != Protocol:
		return 0, 0, &Refusal{Code: RefuseProtocol, Text: versionsDiffer(Protocol, version)}
	case greetingHead+n > MaxHello:
		return 0, 0, malformedGreeting(fmt.Sprintf("a message of %d bytes, of at most %d", greetingHead+n, MaxHello))
	}
	return kind, n, nil
}

// write sends one message with one Write.
func (g *greeting) write(kind greetingKind, body any) error {
	msg, err := appendGreeting(make([]byte, 0, 256), kind, body)
	if err != nil {
		return err
	}
	if _, err := g.conn.Write(msg); err != nil {
		return g.failed("it to read our greeting", err)
	}
	return nil
}

// readFull fills b, first from the bytes that were read ahead.
func (g *greeting) readFull(step string, b []byte) error {
	n := copy(b, g.ahead)
	g.ahead = g.ahead[n:]
	more, err := io.ReadFull(g.conn, b[n:])
	g.heard = g.heard || more > 0
	if err != nil {
		return g.failed(step, err)
	}
	return nil
}

// failed returns what a failed Read, Write or TLS handshake means, in words.
func (g *greeting) failed(step string, err error) error {
	switch cause := g.cause(); {
	case errors.Is(cause, context.DeadlineExceeded):
		did := "said nothing"
		if g.heard {
			did = "did not finish"
		}
		return fmt.Errorf("peer %s within %v, while we waited for %s: %w (%w)",
			did, g.limit.Round(time.Millisecond), step, os.ErrDeadlineExceeded, cause)
	case cause != nil:
		return fmt.Errorf("greeting given up while we waited for %s: %w", step, cause)
	case g.tls != nil && !ioFailure(err):
		return g.p.explain(g.tls, err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("peer closed the connection while we waited for %s: %w", step, io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("greeting: while we waited for %s: %w", step, err)
}

// ioFailure reports whether err is one of the connection itself, not one of what TLS made of its
// bytes.
func ioFailure(err error) bool {
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		return op.Op != "remote error" && op.Op != "local error" // these are alerts of crypto/tls
	}
	for _, target := range []error{
		io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, os.ErrDeadlineExceeded, net.ErrClosed,
		syscall.ECONNRESET, syscall.EPIPE,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// end stops the clock and returns the connection; after an error it refuses the peer and closes the
// connection.
func (g *greeting) end(peer Hello, err error) (net.Conn, Hello, error) {
	if err == nil {
		g.stop()
		if err = g.raw.SetDeadline(time.Time{}); err == nil {
			return g.conn, peer, nil
		}
	}
	if r := (*Refusal)(nil); errors.As(err, &r) && !r.Remote {
		g.refuse(r)
	}
	g.stop()
	g.raw.Close()
	return nil, Hello{}, err
}

// refuse sends a refusal, and waits within bounds until the peer has read it and closes. Failures
// do not matter here.
func (g *greeting) refuse(r *Refusal) {
	if !g.mute {
		if err := g.write(greetRefuse, r); err != nil {
			return
		}
	}
	if half, ok := g.raw.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_ = g.raw.SetReadDeadline(time.Now().Add(lingerTime))
	if g.cause() == nil { // otherwise the line above has undone what the clock did
		_, _ = io.CopyN(io.Discard, g.raw, lingerBytes)
	}
}

// aheadConn is a connection whose first bytes were read ahead.
type aheadConn struct {
	net.Conn
	ahead []byte // owned by the reader
}

// Read implements [io.Reader].
func (c *aheadConn) Read(b []byte) (int, error) {
	if len(c.ahead) == 0 {
		return c.Conn.Read(b)
	}
	n := copy(b, c.ahead)
	c.ahead = c.ahead[n:]
	return n, nil
}

// NetConn returns the connection below.
func (c *aheadConn) NetConn() net.Conn { return c.Conn }
