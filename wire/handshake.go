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

// Protocol is the version of everything that is said on a link. Two sides that differ in it refuse each other.
const Protocol = 1

// MaxHello is the most bytes of one greeting message, its preamble included. What claims more is refused unread.
const MaxHello = 1024

// HandshakeTimeout bounds the whole greeting, TLS included.
const HandshakeTimeout = 5 * time.Second

// After a refusal the connection stays open until the peer has read it and closes, this long and this many bytes at
// most: a socket that is closed with bytes unread resets the connection, and the reset overtakes our words.
const (
	lingerTime  = time.Second
	lingerBytes = 16 << 10
)

// greetingKind tells the greeting's messages apart.
type greetingKind uint8

// The greeting's messages, in the order they are sent.
const (
	greetKnock   greetingKind = 1   // dialer: knockBody
	greetHello   greetingKind = 2   // listener, then dialer: helloBody
	greetWelcome greetingKind = 3   // listener: no body
	greetRefuse  greetingKind = 255 // either: see Refusal; the same in every version
)

// greetingHead is the length of what every greeting message starts with: magic, version, kind, length of the body.
const greetingHead = 8

// greetingMagic opens every greeting message. Its first byte is neither text nor the start of a TLS record.
const greetingMagic = "\xd1sco"

// tlsRecord is the first byte of a TLS connection: a handshake record.
const tlsRecord = 0x16

// greeting is one greeting under way. It lives in one goroutine.
type greeting struct {
	raw    net.Conn      // immutable: the connection below TLS
	p      *Protection   // immutable: nil is a plain link
	cause  func() error  // immutable: why time is up, nil while it is not
	stop   func()        // immutable: ends the clock; raw's deadlines are ours alone when it returns
	limit  time.Duration // immutable: how long the clock runs
	conn   net.Conn      // raw, or TLS on it once that is up
	tls    *tls.Conn     // the same conn where it is TLS
	ahead  []byte        // read from raw before we knew what it was
	heard  bool          // the peer has said something
	proven bool          // the peer is who it should be; always so on a plain link
	mute   bool          // the peer would not understand a refusal
}

// Dial greets as the side that dialled, and takes at most [HandshakeTimeout], less when ctx ends earlier. The clock
// starts when p's key is there (see [Protection.Ready]).
//
// admit is called once, after the listener has proven itself, with its hello; a refusal that it returns reaches the
// listener and comes back as the error. The listener decides after that: when admit returned nil and Dial returns an
// error, the caller undoes what admit did. A nil admit lets everybody in.
//
// The connection that comes back is raw itself on a plain link, else a [*tls.Conn], and stands exactly behind the
// greeting, with no deadline. On an error raw is closed. Errors are [*Refusal], whoever refused; one that wraps
// [os.ErrDeadlineExceeded] and ctx's error when the peer was silent or slow; ctx's when it was cancelled; else those of raw.
func Dial(ctx context.Context, raw net.Conn, p *Protection, own Hello, admit func(peer Hello) *Refusal) (net.Conn, Hello, error) {
	g, err := newGreeting(ctx, raw, p)
	if err != nil {
		return nil, Hello{}, err
	}
	peer, err := g.dial(own, admit)
	return g.end(peer, err)
}

// Accept greets as the side that listened, under the same clock and with the same connection and errors as [Dial].
//
// own is called just before this side's hello is sent, which is after the dialer has proven itself. admit is called
// once, with the dialer's hello, right before the verdict is sent; a refusal that it returns reaches the dialer and
// comes back as the error. When admit returned nil and the verdict could not be sent, Accept returns an error: the
// caller undoes what admit did. A nil admit lets everybody in.
func Accept(ctx context.Context, raw net.Conn, p *Protection, own func() Hello, admit func(peer Hello) *Refusal) (net.Conn, Hello, error) {
	g, err := newGreeting(ctx, raw, p)
	if err != nil {
		return nil, Hello{}, err
	}
	peer, err := g.accept(own, admit)
	return g.end(peer, err)
}

// newGreeting starts the clock. The function that runs when ctx ends is over when stop returns.
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
		_ = raw.SetDeadline(time.Unix(1, 0)) // unblocks whatever waits on raw
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

// admitted refuses ourselves, and whom the caller refuses. It returns an error that is nil, never a nil *Refusal in one.
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

// detect looks at the first byte, which tells TLS from a greeting in clear, and starts TLS where both want it.
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
	// A stranger in clear. It gets an answer when it is one of us.
	if err := g.readFull("its knock", head[1:]); err != nil {
		return err
	}
	if _, _, err := g.parsePreamble(head); err != nil {
		return err
	}
	return &Refusal{Code: RefuseUnauthorized, Text: g.p.wants()}
}

// startTLS does the TLS handshake, where links are protected, and moves the greeting on top of it.
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
		g.mute = true // TLS has sent an alert, and nothing but TLS would be understood
		return g.failed("the end of the TLS handshake", err)
	}
	g.conn = g.tls
	if g.tls.ConnectionState().NegotiatedProtocol != alpn {
		return &Refusal{Code: RefuseProtocol, Text: "that is TLS, but not discoro: ALPN " + alpn + " is missing"}
	}
	g.proven = g.p.key == nil
	return nil
}

// knock sends the dialer's first message.
func (g *greeting) knock() error {
	proof, err := g.proof(proofOfClient)
	if err != nil {
		return err
	}
	return g.write(greetKnock, knockBody{Proof: proof})
}

// proof makes the proof of one role in this session; without a secret there is none.
func (g *greeting) proof(label string) ([]byte, error) {
	if g.p == nil || g.p.key == nil {
		return nil, nil
	}
	return g.p.prove(g.tls, label)
}

// check checks the proof that the peer gave in the role of label. What it tells the peer depends on nothing that is ours.
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

// readHello reads a hello message and checks all that can be checked about it alone.
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

// read reads one message, which must be of that kind, and not one byte behind it. step names it in errors.
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

// parsePreamble takes a message's first 8 bytes apart. A peer whose bytes are not a greeting's gets no answer.
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

// versionsDiffer says so in words that are right on both sides.
func versionsDiffer(refusing, refused uint8) string {
	return fmt.Sprintf("the one who refuses speaks protocol %d of discoro, the other protocol %d: update the older one",
		refusing, refused)
}

// write sends one message in one Write.
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

// appendGreeting appends a message: preamble and body.
func appendGreeting(dst []byte, kind greetingKind, body any) ([]byte, error) {
	dst = append(append(dst, greetingMagic...), Protocol, byte(kind), 0, 0)
	switch body := body.(type) {
	case nil:
	case *Refusal:
		dst = body.appendTo(dst)
	default:
		b, err := greetingEnc.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("greeting: %w", err)
		}
		dst = append(dst, b...)
	}
	if len(dst) > MaxHello {
		return nil, fmt.Errorf("greeting: own message has %d bytes, of at most %d", len(dst), MaxHello)
	}
	binary.BigEndian.PutUint16(dst[greetingHead-2:], uint16(len(dst)-greetingHead))
	return dst, nil
}

// readFull fills b, from what was read ahead first.
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

// failed says in words what a failed Read, Write or TLS handshake means.
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

// ioFailure reports whether err came from the connection itself rather than from what TLS made of its bytes.
func ioFailure(err error) bool {
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		return op.Op != "remote error" && op.Op != "local error" // crypto/tls has these for alerts
	}
	for _, target := range []error{io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, os.ErrDeadlineExceeded, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// end stops the clock and hands the connection over, or tells the peer why not and closes it.
func (g *greeting) end(peer Hello, err error) (net.Conn, Hello, error) {
	if err == nil {
		g.stop()
		if err = g.raw.SetDeadline(time.Time{}); err == nil {
			return g.conn, peer, nil
		}
	}
	if r := (*Refusal)(nil); errors.As(err, &r) && !r.Remote {
		g.tell(r)
	}
	g.stop()
	g.raw.Close()
	return nil, Hello{}, err
}

// tell sends a refusal and waits, within bounds, until the peer has read it and closes. Nothing that fails here matters.
func (g *greeting) tell(r *Refusal) {
	if !g.mute {
		if err := g.write(greetRefuse, r); err != nil {
			return
		}
	}
	if half, ok := g.raw.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_ = g.raw.SetReadDeadline(time.Now().Add(lingerTime))
	if g.cause() == nil { // else we have just undone what the clock did
		_, _ = io.CopyN(io.Discard, g.raw, lingerBytes)
	}
}

// aheadConn gives back what was read ahead before it reads on.
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
