package wire

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestKind(t *testing.T) {
	for want, p := range allKinds(t) {
		if got := p.Kind(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestProtectionsThatDiffer(t *testing.T) {
	t.Parallel()
	one, other := oneCA().config(oneCA()), otherCA().config(otherCA())
	stranger := otherCA().config(oneCA(), otherCA())
	expired := oneCA().config(oneCA())
	expired.Certificates[0] = oneCA().issue(x509.Certificate{NotAfter: time.Now().Add(-time.Minute)})
	clientOnly := oneCA().config(oneCA())
	clientOnly.Certificates[0] = oneCA().issue(x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	named := oneCA().config(oneCA())
	named.ServerName = "discoro.example"
	ps := map[string]*Protection{
		"plain": nil, "right": withSecret(t, "right-secret"), "wrong": withSecret(t, "wrong-secret"),
		"one": protection(t, "", one), "other": protection(t, "", other), "stranger": protection(t, "", stranger),
		"expired": protection(t, "", expired), "client only": protection(t, "", clientOnly), "named": protection(t, "", named),
		"one+right": protection(t, "right-secret", one), "one+wrong": protection(t, "wrong-secret", one),
	}
	const (
		unauthorized, mismatch = RefuseUnauthorized, RefuseMismatch
		byListener, byDialer   = true, false
	)
	tests := []struct {
		dial, accept   string
		code           RefusalCode
		by             bool
		atDial, atList string
	}{
		{"plain", "right", unauthorized, byListener, "requires a secret", "requires a secret"},
		{"plain", "one", unauthorized, byListener, "requires certificates", "requires certificates"},
		{"plain", "one+right", unauthorized, byListener, "certificates and a secret", "certificates and a secret"},
		{"right", "plain", mismatch, byListener, "neither secret nor", "neither secret nor"},
		{"one", "plain", mismatch, byListener, "neither secret nor", "neither secret nor"},
		{"right", "wrong", unauthorized, byListener, "the secrets differ", "the secrets differ"},
		{"one+right", "one+wrong", unauthorized, byListener, "the secrets differ", "the secrets differ"},
		{"right", "one", unauthorized, byListener, "it requires certificates", "has no certificate"},
		{"right", "one+right", unauthorized, byListener, "it requires certificates", "has no certificate"},
		{"one", "right", unauthorized, byDialer, "not accepted", "requires certificates"},
		{"one+right", "right", unauthorized, byDialer, "not accepted", "requires certificates"},
		{"one", "other", unauthorized, byDialer, "not accepted", "of another CA"},
		{"stranger", "one", unauthorized, byListener, "of another CA", "not accepted"},
		{"expired", "one", unauthorized, byListener, "of another CA", "not accepted"},
		{"one", "expired", unauthorized, byDialer, "expired", "of another CA"},
		{"one", "client only", unauthorized, byDialer, "not accepted", "of another CA"},
		{"named", "one", unauthorized, byDialer, "discoro.example", "of another CA"},
		{"one", "one+right", unauthorized, byListener, "a secret is needed", "a secret is needed"},
		{"one+right", "one", mismatch, byListener, "one side has a secret", "one side has a secret"},
	}
	for _, tt := range tests {
		t.Run(tt.dial+" to "+tt.accept, func(t *testing.T) {
			t.Parallel()
			never := func(Hello) *Refusal { t.Error("a stranger was asked about"); return nil }
			d, l := greetBoth(t, greeter{ps[tt.dial], testHello("dialer"), never}, greeter{ps[tt.accept], testHello("listener"), never})
			wantRefusal(t, d.err, tt.code, tt.by, tt.atDial)
			wantRefusal(t, l.err, tt.code, !tt.by, tt.atList)
			for _, err := range []error{d.err, l.err} {
				if s := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(s, "-secret") {
					t.Errorf("the secret is in an error: %s", s)
				}
			}
		})
	}
}

// Peers of one CA need no certificate for an address, and a check of the user is called with the
// chain.
func TestCertificateChecks(t *testing.T) {
	t.Parallel()
	named := oneCA().config(oneCA())
	named.ServerName = "discoro.example"
	named.Certificates[0] = oneCA().issue(x509.Certificate{DNSNames: []string{named.ServerName}})
	p := protection(t, "", named)
	if d, l := greetBoth(t, greeter{p: p, own: testHello("a")}, greeter{p: p, own: testHello("b")}); d.err != nil || l.err != nil {
		t.Errorf("with a name: %v, %v", d.err, l.err)
	}

	var asked []string
	cfg := oneCA().config(oneCA())
	cfg.Time = time.Now
	cfg.VerifyPeerCertificate = func(raw [][]byte, chains [][]*x509.Certificate) error {
		asked = append(asked, fmt.Sprint("peer ", len(raw), len(chains)))
		return nil
	}
	veto := errors.New("not on Sundays")
	cfg.VerifyConnection = func(state tls.ConnectionState) error {
		asked = append(asked, fmt.Sprint("connection ", len(state.VerifiedChains)))
		return veto
	}
	d, l := greetBoth(t, greeter{p: protection(t, "", cfg), own: testHello("a")},
		greeter{p: protection(t, "", oneCA().config(oneCA())), own: testHello("b")})
	if got, want := strings.Join(asked, ", "), "peer 11, connection 1"; got != strings.ReplaceAll(want, "11", "1 1") {
		t.Errorf("asked: %s", got)
	}
	wantRefusal(t, d.err, RefuseProtocol, false, veto.Error())
	wantRefusal(t, l.err, RefuseUnauthorized, true, "bad certificate")
}

// A dialer that is no runtime of discoro, and speaks TLS.
func TestAcceptOtherTLS(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		cfg   *tls.Config
		words string
		hears bool // it gets as far as a refusal inside TLS
	}{
		"TLS 1.2":      {&tls.Config{MaxVersion: tls.VersionTLS12, NextProtos: []string{alpn}}, "unsupported versions", false},
		"ALPN of HTTP": {&tls.Config{NextProtos: []string{"h2", "http/1.1"}}, "h2", false},
		"no ALPN":      {&tls.Config{}, "ALPN discoro/1 is missing", true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dc, lc := tcpPair(t)
			done := accepting(t.Context(), lc, greeter{p: withSecret(t, "right"), own: testHello("listener")})
			tt.cfg.InsecureSkipVerify = true
			client := tls.Client(dc, tt.cfg)
			err := client.Handshake()
			if tt.hears {
				if r := hearRefusal(t, client); err != nil || r.Code != RefuseProtocol {
					t.Errorf("heard %v, %v", r, err)
				}
			} else if err == nil {
				t.Error("no error at the dialer")
			}
			dc.Close()
			wantRefusal(t, (<-done).err, RefuseProtocol, false, tt.words)
		})
	}
}

// A listener that is no runtime of discoro.
func TestDialOthers(t *testing.T) {
	t.Parallel()
	serve := func(cfg *tls.Config) func(net.Conn) {
		return func(c net.Conn) {
			_, server, _ := throwawayTLS()
			cfg.Certificates = server.Certificates
			_, _ = io.Copy(io.Discard, tls.Server(c, cfg))
		}
	}
	http := func(c net.Conn) {
		_, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n"))
		_, _ = io.Copy(io.Discard, c)
	}
	newer := func(c net.Conn) {
		_, _ = c.Write(greetingBytes(9, greetRefuse, []byte("\x01words that a TLS dialer does not get to see")))
		_, _ = io.Copy(io.Discard, c)
	}
	tests := map[string]struct {
		p      *Protection
		peer   func(net.Conn)
		code   RefusalCode
		remote bool
		words  string
	}{
		"TLS 1.2":           {withSecret(t, "right"), serve(&tls.Config{MaxVersion: tls.VersionTLS12}), RefuseProtocol, true, "protocol version"},
		"ALPN of HTTP":      {withSecret(t, "right"), serve(&tls.Config{NextProtos: []string{"h2"}}), RefuseProtocol, true, "application protocol"},
		"no ALPN":           {withSecret(t, "right"), serve(&tls.Config{}), RefuseProtocol, false, "ALPN discoro/1 is missing"},
		"HTTP for TLS":      {withSecret(t, "right"), http, RefuseMalformed, false, "does not speak TLS"},
		"HTTP for plain":    {nil, http, RefuseMalformed, false, "it starts with 48 54 54 50"},
		"newer without TLS": {withSecret(t, "right"), newer, RefuseProtocol, true, "speaks protocol 9 of discoro, the other protocol 1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dc, lc := tcpPair(t)
			done := make(chan struct{})
			go func() {
				defer close(done)
				defer lc.Close()
				tt.peer(lc)
			}()
			err := (<-dialing(t.Context(), dc, greeter{p: tt.p, own: testHello("dialer")})).err
			wantRefusal(t, err, tt.code, tt.remote, tt.words)
			<-done
		})
	}
}

func TestSecretPrintsNothing(t *testing.T) {
	const s = Secret("hunter2hunter2")
	type config struct{ Secret Secret }
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T|%v", "%10.3s"} {
		fmt.Fprintf(&out, verb+" ", s)
		fmt.Fprintf(&out, verb+" ", config{s})
		fmt.Fprintf(&out, verb+" ", []Secret{s})
	}
	fmt.Fprint(&out, s, s.String(), s.GoString())
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "secret", s, "config", config{s})
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "secret", s, "config", config{s})
	if err := json.NewEncoder(&out).Encode([]any{s, config{s}}); err != nil {
		t.Fatal(err)
	}
	p := protection(t, s, nil)
	fmt.Fprintf(&out, "%v %+v %#v", p, p, *p)
	for _, bad := range []string{"hunter", fmt.Sprintf("%x", "hunter"), fmt.Sprintf("%X", "hunter")} {
		if strings.Contains(out.String(), bad) {
			t.Errorf("the secret shows in %s", out.String())
		}
	}
	if !strings.Contains(out.String(), hiddenSecret) {
		t.Errorf("got %s", out.String())
	}
}

// The key of a secret is derived in the background, and once.
func TestKeyIsComputedOnceAndLater(t *testing.T) {
	t.Parallel()
	secret := Secret(NewID().String())
	a, err := NewProtection(secret, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewProtection(secret, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Ready(ctx); !errors.Is(err, context.Canceled) { // a key that is ready would come first
		t.Errorf("Ready says %v", err)
	}
	dc, lc := tcpPair(t)
	if _, _, err := Dial(ctx, dc, a, testHello("dialer"), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Dial says %v", err)
	}
	wantClosed(t, lc)
	if err := errors.Join(a.Ready(t.Context()), b.Ready(t.Context()), a.Ready(ctx)); err != nil {
		t.Errorf("Ready says %v", err)
	}
	ka, _ := a.key()
	kb, _ := b.key()
	if &ka[0] != &kb[0] {
		t.Error("two keys of one secret")
	}
}

func TestNewProtectionSaysWhatToSet(t *testing.T) {
	t.Parallel()
	ok := oneCA().config(oneCA())
	change := func(f func(*tls.Config)) *tls.Config {
		cfg := ok.Clone()
		f(cfg)
		return cfg
	}
	for words, cfg := range map[string]*tls.Config{
		"set CertFile and KeyFile": change(func(c *tls.Config) { c.Certificates = nil }),
		"set CAFile":               change(func(c *tls.Config) { c.RootCAs = nil }),
		"TLS.MaxVersion":           change(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }),
		"TLS.InsecureSkipVerify":   change(func(c *tls.Config) { c.InsecureSkipVerify = true }),
		"TLS.GetConfigForClient": change(func(c *tls.Config) {
			c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, nil }
		}),
	} {
		if _, err := NewProtection("", cfg); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("error is %v, want %q", err, words)
		}
	}
	if p, err := NewProtection("", nil); p != nil || err != nil {
		t.Errorf("plain is %v, %v", p, err)
	}
}

func TestLoadTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name string, blocks ...*pem.Block) string {
		var b bytes.Buffer
		for _, block := range blocks {
			if err := pem.Encode(&b, block); err != nil {
				t.Fatal(err)
			}
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pair := oneCA().issue(x509.Certificate{})
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certBlock := &pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}
	keyBlock := &pem.Block{Type: "PRIVATE KEY", Bytes: der}
	cert, key, both := write("cert.pem", certBlock), write("key.pem", keyBlock), write("both.pem", certBlock, keyBlock)
	ca, empty := write("ca.pem", &pem.Block{Type: "CERTIFICATE", Bytes: oneCA().cert.Raw}), write("empty.pem")

	for _, files := range [][3]string{{cert, key, ca}, {both, "", ca}} {
		cfg, err := LoadTLS(files[0], files[1], files[2])
		if err != nil {
			t.Fatal(err)
		}
		p := protection(t, "", cfg)
		if d, l := greetBoth(t, greeter{p: p, own: testHello("a")}, greeter{p: p, own: testHello("b")}); d.err != nil || l.err != nil {
			t.Errorf("greeting: %v, %v", d.err, l.err)
		}
	}
	for _, tt := range []struct{ cert, key, ca, words string }{
		{"", key, ca, "CertFile is missing"},
		{cert, key, "", "CAFile is missing"},
		{cert, "", ca, "KeyFile " + cert},
		{filepath.Join(dir, "none.pem"), key, ca, "none.pem: no such file"},
		{cert, key, filepath.Join(dir, "none.pem"), "none.pem: no such file"},
		{cert, key, empty, "empty.pem: no PEM certificate"},
	} {
		if _, err := LoadTLS(tt.cert, tt.key, tt.ca); err == nil || !strings.Contains(err.Error(), tt.words) {
			t.Errorf("error is %v, want %q", err, tt.words)
		}
	}
}
