package wire

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// greetingPatience bounds how long a test waits when something is broken.
const greetingPatience = time.Minute

// tcpPair returns both ends of a connection over loopback. They are closed when the test ends.
func tcpPair(tb testing.TB) (dialer, listener net.Conn) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	dialer, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	listener, err = l.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		dialer.Close()
		listener.Close()
	})
	return dialer, listener
}

// testHello returns a valid hello.
func testHello(name string) Hello {
	return Hello{
		ID: NewID(), Name: name, Host: "10.0.0.7", Port: 51347, Build: "example.com/prog v1.2.3 go1.26",
		Registry: 1 << 63, Epoch: 7, Roles: 5, Pulse: 2 * time.Second,
	}
}

// greetingResult is what one side gets from a greeting.
type greetingResult struct {
	conn net.Conn
	peer Hello
	err  error
}

// greeter is the arguments of one side.
type greeter struct {
	p     *Protection
	own   Hello
	admit func(Hello) *Refusal
}

// accepting runs Accept in a goroutine.
func accepting(ctx context.Context, raw net.Conn, s greeter) <-chan greetingResult {
	done := make(chan greetingResult, 1)
	go func() {
		conn, peer, err := Accept(ctx, raw, s.p, func() Hello { return s.own }, s.admit)
		done <- greetingResult{conn, peer, err}
	}()
	return done
}

// dialing runs Dial in a goroutine.
func dialing(ctx context.Context, raw net.Conn, s greeter) <-chan greetingResult {
	done := make(chan greetingResult, 1)
	go func() {
		conn, peer, err := Dial(ctx, raw, s.p, s.own, s.admit)
		done <- greetingResult{conn, peer, err}
	}()
	return done
}

// greetBoth runs a greeting between two sides over loopback.
func greetBoth(tb testing.TB, dial, accept greeter) (d, l greetingResult) {
	tb.Helper()
	dc, lc := tcpPair(tb)
	accepted := accepting(tb.Context(), lc, accept)
	d = <-dialing(tb.Context(), dc, dial)
	return d, <-accepted
}

// wantRefusal checks that err is a refusal with this code, by this side, with these words.
func wantRefusal(t *testing.T, err error, code RefusalCode, remote bool, words string) {
	t.Helper()
	var r *Refusal
	if !errors.As(err, &r) {
		t.Fatalf("error is no refusal: %v", err)
	}
	if r.Code != code || r.Remote != remote || !strings.Contains(r.Text, words) {
		t.Errorf("refusal is %v, remote %v, %q; want %v, %v, %q", r.Code, r.Remote, r.Text, code, remote, words)
	}
}

// wantClosed checks that the other end has been closed.
func wantClosed(t *testing.T, other net.Conn) {
	t.Helper()
	_ = other.SetDeadline(time.Now().Add(greetingPatience))
	if _, err := io.Copy(io.Discard, other); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection was left open")
	}
}

// wantEcho checks that bytes pass both ways.
func wantEcho(t *testing.T, a, b net.Conn) {
	t.Helper()
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		sent := []byte("the stream after the greeting")
		if _, err := way[0].Write(sent); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(way[1], got); err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("got %q, %v; want %q", got, err, sent)
		}
	}
}

// greetingBytes returns a greeting message with any version, kind and body.
func greetingBytes(version byte, kind greetingKind, body []byte) []byte {
	msg := append([]byte(greetingMagic), version, byte(kind))
	return append(binary.BigEndian.AppendUint16(msg, uint16(len(body))), body...)
}

// greetingMessage returns a valid greeting message.
func greetingMessage(tb testing.TB, kind greetingKind, body any) []byte {
	tb.Helper()
	msg, err := appendGreeting(nil, kind, body)
	if err != nil {
		tb.Fatal(err)
	}
	return msg
}

// say writes the bytes of a scripted peer.
func say(t *testing.T, to net.Conn, b []byte) {
	t.Helper()
	if _, err := to.Write(b); err != nil {
		t.Fatal(err)
	}
}

// hear reads one message as a scripted peer.
func hear(t *testing.T, from net.Conn) (greetingKind, []byte) {
	t.Helper()
	_ = from.SetReadDeadline(time.Now().Add(greetingPatience))
	head := make([]byte, greetingHead)
	if _, err := io.ReadFull(from, head); err != nil {
		t.Fatalf("nothing to hear: %v", err)
	}
	body := make([]byte, binary.BigEndian.Uint16(head[6:]))
	if _, err := io.ReadFull(from, body); err != nil {
		t.Fatal(err)
	}
	_ = from.SetReadDeadline(time.Time{})
	return greetingKind(head[5]), body
}

// hangUp closes the writing side of a scripted peer, which can still read.
func hangUp(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
}

// hearRefusal reads one message, which must be a refusal.
func hearRefusal(t *testing.T, from net.Conn) *Refusal {
	t.Helper()
	kind, body := hear(t, from)
	if kind != greetRefuse || len(body) < 1 {
		t.Fatalf("heard message %d, %q, want a refusal", kind, body)
	}
	return &Refusal{Code: RefusalCode(body[0]), Text: string(body[1:])}
}

// scripted returns a peer whose messages the test writes, after the TLS handshake.
func scripted(t *testing.T, raw net.Conn, p *Protection, dials bool) *greeting {
	t.Helper()
	g, err := newGreeting(t.Context(), raw, p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.stop)
	if err := g.startTLS(dials); err != nil {
		t.Fatal(err)
	}
	return g
}

// testCA signs the certificates of one test binary.
type testCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

var oneCA, otherCA = sync.OnceValue(newTestCA), sync.OnceValue(newTestCA)

func newTestCA() *testCA {
	ca := &testCA{pool: x509.NewCertPool()}
	ca.cert, ca.key = ca.sign(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	ca.pool.AddCert(ca.cert)
	return ca
}

// sign signs a template; the first one, that of the CA itself, with its own key.
func (ca *testCA) sign(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore = time.Now().Add(-time.Hour)
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	parent, signer := ca.cert, ca.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return cert, key
}

// issue returns the certificate of a peer.
func (ca *testCA) issue(template x509.Certificate) tls.Certificate {
	if template.ExtKeyUsage == nil {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	cert, key := ca.sign(&template)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

// config returns the configuration of a peer: a certificate of ca, and trust in the CAs.
func (ca *testCA) config(trust ...*testCA) *tls.Config {
	pool := x509.NewCertPool()
	for _, c := range trust {
		pool.AddCert(c.cert)
	}
	return &tls.Config{Certificates: []tls.Certificate{ca.issue(x509.Certificate{})}, RootCAs: pool}
}

// protection is NewProtection with a key that takes no time to derive.
func protection(tb testing.TB, secret Secret, cfg *tls.Config) *Protection {
	tb.Helper()
	p, err := newProtection(secret, cfg, 10)
	if err != nil {
		tb.Fatal(err)
	}
	if err := p.Ready(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return p
}

func withSecret(tb testing.TB, secret Secret) *Protection {
	tb.Helper()
	return protection(tb, secret, nil)
}

// allKinds returns one protection of each kind.
func allKinds(tb testing.TB) map[string]*Protection {
	tb.Helper()
	cfg := oneCA().config(oneCA())
	return map[string]*Protection{
		"plain":                   protection(tb, "", nil),
		"secret":                  protection(tb, "right", nil),
		"certificates":            protection(tb, "", cfg),
		"certificates and secret": protection(tb, "right", cfg),
	}
}
