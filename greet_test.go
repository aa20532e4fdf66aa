package discoro

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/internal/testkit"
)

// TestConnectErrors checks the error of Connect for everything that can be at an address.
func TestConnectErrors(t *testing.T) {
	t.Parallel()
	const secret = "sixteen characters and more"
	certs := testCerts(t)
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := gone.Addr().String()
	gone.Close()
	serve := func(f func(net.Conn)) string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				f(c)
				c.Close()
			}
		}()
		t.Cleanup(func() { ln.Close(); <-done })
		return ln.Addr().String()
	}
	plain := testRuntime(t, Config{Name: "plain"})
	secured := testRuntime(t, Config{Name: "secured", Secret: secret})
	certified := testRuntime(t, Config{Name: "certified", TLS: certs})
	local := func(rt *Runtime) string { return Location{"127.0.0.1", rt.loc.Port}.String() }
	web := serve(func(c net.Conn) {
		_, _ = c.Read(make([]byte, 1))
		_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
	})
	shut := serve(func(net.Conn) {})
	tests := []struct {
		name string
		cfg  Config
		addr string
		is   error
		not  error
		text string
	}{
		{"nobody there", Config{}, nobody, ErrDisconnected, ErrUnauthorized, "refused"},
		{"no such host", Config{}, "no-such-host.invalid:1", ErrDisconnected, ErrUnauthorized, "no-such-host.invalid"},
		{"no address", Config{}, "nonsense", nil, ErrDisconnected, "host:port"},
		{"not discoro", Config{}, web, ErrDisconnected, ErrUnauthorized, "not a greeting"},
		{"not discoro, with a secret", Config{Secret: secret}, web, ErrDisconnected, nil, "TLS"},
		{"hangs up", Config{}, shut, ErrDisconnected, ErrUnauthorized, "connection"},
		{
			"wrong secret",
			Config{Secret: "another secret of many letters"},
			local(secured), ErrUnauthorized, nil,
			"secrets differ",
		},
		{"no secret", Config{}, local(secured), ErrUnauthorized, nil, "requires a secret"},
		{
			"secret where there is none",
			Config{Secret: secret},
			local(plain), ErrUnauthorized, nil,
			"neither secret nor certificates",
		},
		{
			"secret where there are certificates",
			Config{Secret: secret},
			local(certified), ErrUnauthorized, nil,
			"certificates",
		},
		{
			"certificates where there are none",
			Config{TLS: certs},
			local(plain), ErrUnauthorized, nil,
			"neither secret nor certificates",
		},
		{"the right secret", Config{Secret: secret}, local(secured), nil, nil, ""},
		{"the right certificates", Config{TLS: certs}, local(certified), nil, nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rt := testRuntime(t, tt.cfg)
			_, err := rt.Connect(testkit.Context(t), tt.addr)
			switch {
			case tt.is == nil && tt.text == "" && err != nil:
				t.Error(err)
			case tt.text != "" && (err == nil || !strings.Contains(err.Error(), tt.text)):
				t.Errorf("%v, want %q in it", err, tt.text)
			case tt.is != nil && !errors.Is(err, tt.is):
				t.Errorf("%v is not %v", err, tt.is)
			case tt.not != nil && errors.Is(err, tt.not):
				t.Errorf("%v is %v", err, tt.not)
			case err != nil && (!strings.HasPrefix(err.Error(), "discoro: ") || strings.Count(err.Error(), ": discoro: ") > 0):
				t.Errorf("%v says whose it is more than once, or not at all", err)
			}
			if links := rt.net.All(); err != nil && len(links) != 0 {
				t.Errorf("%d links are left", len(links))
			}
		})
	}
	for _, addr := range []string{plain.loc.String(), Location{"localhost", plain.loc.Port}.String()} {
		if _, err := plain.Connect(testkit.Context(t), addr); !errors.Is(err, ErrRejected) ||
			!strings.Contains(err.Error(), "itself") {
			t.Errorf("Connect to oneself at %s: %v, want ErrRejected", addr, err)
		}
	}
	if err := plain.Disconnect(Location{"10.9.9.9", 9}); !errors.Is(err, ErrNotFound) {
		t.Errorf("Disconnect from nobody: %v, want ErrNotFound", err)
	}
}

// testCerts returns mutual TLS with a CA of its own.
func testCerts(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, RootCAs: pool, ClientCAs: pool,
	}
}

// secretIsNeverTold looks for the secret in everything that a runtime logs and returns.
func secretIsNeverTold(t *testing.T) {
	t.Parallel()
	log := &testkit.Log{}
	const secret = "short&sweet"
	rt := testRuntime(t, Config{Secret: secret, Logger: log.Logger()})
	other := testRuntime(t, Config{Secret: "the other secret", Logger: log.Logger()})
	if _, err := other.Connect(testkit.Context(t), Location{"127.0.0.1", rt.loc.Port}.String()); err == nil ||
		strings.Contains(err.Error(), secret) {
		t.Error(err)
	}
	if strings.Contains(log.String(), secret) {
		t.Errorf("the log has the secret:\n%s", log)
	}
	if n := log.Count("the secret is short"); n != 1 {
		t.Errorf("%d warnings of a short secret, want one:\n%s", n, log)
	}
}

// TestCloseWaitsForTheKey checks that no goroutine is left that derives a key. TestMain would find it.
func TestCloseWaitsForTheKey(t *testing.T) {
	t.Parallel()
	cfg := Config{Secret: "a secret of this test's own"}
	rt := testRuntime(t, cfg)
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-readyNow(rt):
	default:
		t.Error("the key is still being computed")
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	cfg.Secret += ", and another"
	cfg.Addr, cfg.TCPPort = "127.0.0.1", taken.Addr().(*net.TCPAddr).Port
	if _, err := NewRuntime(cfg); err == nil {
		t.Error("two listen at one port")
	}
}

// readyNow returns a channel that is closed if the key is derived already.
func readyNow(rt *Runtime) <-chan struct{} {
	done := make(chan struct{})
	ctx, cancel := contextDone()
	defer cancel()
	if rt.cfg.protect.Ready(ctx) == nil {
		close(done)
	}
	return done
}

// silentStrangers opens a thousand connections that stay silent. They end in bounded time, use bounded
// memory and fill no log, and a peer gets in among them.
func silentStrangers(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{"", "sixteen characters and more"} {
		t.Run("secret="+strconv.FormatBool(secret != ""), func(t *testing.T) {
			t.Parallel()
			silentConnections(t, secret)
		})
	}
}

func silentConnections(t *testing.T, secret string) {
	t.Helper()
	log := &testkit.Log{}
	rt := testRuntime(t, Config{Logger: log.Logger(), Secret: secret, Addr: "127.0.0.1"})
	if err := rt.cfg.protect.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	var closed, dials sync.WaitGroup
	gate := make(chan struct{}, 100)
	for range 1000 {
		gate <- struct{}{}
		dials.Go(func() {
			c, err := net.Dial("tcp", rt.loc.String())
			<-gate
			if err != nil {
				t.Error(err)
				return
			}
			closed.Go(func() {
				defer c.Close()
				_ = c.SetReadDeadline(time.Now().Add(testkit.Patience))
				if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error("a silent connection is still open")
				}
			})
		})
	}
	if held := rt.net.Unproven(); held > link.MaxGreetings {
		t.Errorf("%d are held", held)
	}
	honest := testRuntime(t, Config{Name: "honest", Secret: secret})
	start := time.Now()
	connect(t, honest, rt.loc) // while they are there
	t.Logf("a peer got in after %v", time.Since(start))
	dials.Wait()
	closed.Wait()
	if n := log.Count("refused a connection"); n == 0 || n > 3 {
		t.Errorf("%d lines in the log", n)
	}
	testkit.Eventually(t, "they are forgotten", func() bool { return rt.net.Unproven() == 0 })
}

// TestProvenMakesNoRoom has a peer that has proven itself, and whose link is not up yet. Its connection is
// not closed to make room for another.
func TestProvenMakesNoRoom(t *testing.T) {
	t.Parallel()
	rt := testRuntime(t, Config{})
	h := newHostile(t, rt, true)
	testkit.Eventually(t, "the link is being made", func() bool { return rt.net.If(h.id) != nil })
	l := rt.net.If(h.id)
	testkit.Eventually(t, "it is no stranger", func() bool { return rt.net.Unproven() == 0 })
	if err := l.Cause(); err != nil {
		t.Errorf("its link has ended: %v", err)
	}
}

// TestManyHonestPeersAtOnce checks that the bounds keep out no peer that tries again.
func TestManyHonestPeersAtOnce(t *testing.T) {
	t.Parallel()
	rt := testRuntime(t, Config{})
	const n = 3 * link.MaxGreetingsAt
	var wg sync.WaitGroup
	for range n {
		peer := testRuntime(t, Config{Name: "peer"})
		wg.Go(func() {
			if _, err := peer.Connect(testkit.Context(t), rt.loc.String()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	testkit.Eventually(t, "all are connected", func() bool { return len(rt.Peers()) == n })
}
