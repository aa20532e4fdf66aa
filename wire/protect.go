package wire

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

// The names that go into keys and proofs. The version in alpn is that of the greeting. It stays
// when Protocol changes, so that two versions can still send each other refusals.
const (
	alpn          = "discoro/1"
	exporterLabel = "EXPORTER-discoro/1"
	secretSalt    = "discoro/1 secret"
	proofOfClient = "discoro/1 client"
	proofOfServer = "discoro/1 server"
)

// secretRounds is the number of hashes that one guess at a secret costs.
const secretRounds = 600_000

// The advice in the texts of refusals.
const (
	sameSecret        = "set the same Secret on both sides"
	textPlainListener = "the listener has neither secret nor certificates and the dialer wants them: " +
		"set the same Secret, or CertFile, KeyFile and CAFile, on both sides"
)

// Secret is a shared secret. It is printed as [secret] by fmt, slog and JSON.
type Secret string

const hiddenSecret = "[secret]"

// String implements [fmt.Stringer].
func (Secret) String() string { return hiddenSecret }

// GoString implements [fmt.GoStringer].
func (Secret) GoString() string { return hiddenSecret }

// Format implements [fmt.Formatter] for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hiddenSecret)) }

// LogValue implements [slog.LogValuer].
func (Secret) LogValue() slog.Value { return slog.StringValue(hiddenSecret) }

// MarshalText implements [encoding.TextMarshaler], which JSON uses as well.
func (Secret) MarshalText() ([]byte, error) { return []byte(hiddenSecret), nil }

// Protection says how links are protected: by a secret, by certificates, or by both. A nil
// Protection is a plain link. It is safe for concurrent use.
type Protection struct {
	client *tls.Config   // immutable
	server *tls.Config   // immutable
	certs  bool          // immutable; both sides have certificates, and TLS checks them
	key    derivedKey    // immutable; nil without a secret
	ready  chan struct{} // closed by derive when the key is ready
}

// NewProtection returns the protection by a secret, by a TLS configuration, or by both. With
// neither it returns nil, nil: a plain link.
//
// A secret alone means TLS 1.3 with a throw-away certificate that the other side does not check,
// and a proof of the secret in both directions. Deriving its key takes a fraction of a second, once
// for each process and secret. NewProtection starts that and does not wait for it (see
// [Protection.Ready]).
//
// A cfg means mutual TLS 1.3: both sides have a certificate for client and server authentication
// that is signed by a CA of the other side. It must have a certificate, and ClientCAs or RootCAs;
// one of these stands for both. With a ServerName, the certificate of every listener must be for
// that name. Without, the signature of the CA is enough, because peers are reached at addresses
// that no certificate knows. NewProtection clones cfg.
func NewProtection(secret Secret, cfg *tls.Config) (*Protection, error) {
	return newProtection(secret, cfg, secretRounds)
}

func newProtection(secret Secret, cfg *tls.Config, rounds int) (*Protection, error) {
	if secret == "" && cfg == nil {
		return nil, nil
	}
	p := &Protection{certs: cfg != nil, ready: make(chan struct{})}
	var err error
	if cfg != nil {
		p.client, p.server, err = mutualTLS(cfg)
	} else {
		p.client, p.server, err = throwawayTLS()
	}
	if err != nil {
		return nil, err
	}
	if secret != "" {
		p.key = keyOfSecret(secret, rounds)
		go p.derive()
	}
	return p, nil
}

// derive computes the key, unless another Protection has done so. It owns nothing, and ends when
// the key is ready.
func (p *Protection) derive() {
	defer close(p.ready)
	_, _ = p.key() // prove returns the error
}

// Ready waits until the key of p is ready. If ctx ends first, it returns the error of ctx. Call it
// before dialling: the clock of the peer starts when that accepts. A runtime that closes calls it
// so that no goroutine is left. A nil Protection is ready.
func (p *Protection) Ready(ctx context.Context) error {
	if p == nil || p.key == nil {
		return nil
	}
	select {
	case <-p.ready:
		return nil
	default:
	}
	select {
	case <-p.ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Kind returns "plain", "secret", "certificates" or "certificates and secret".
func (p *Protection) Kind() string {
	switch {
	case p == nil:
		return "plain"
	case p.certs && p.key != nil:
		return "certificates and secret"
	case p.certs:
		return "certificates"
	}
	return "secret"
}

// wants returns what a dialer in clear is missing.
func (p *Protection) wants() string {
	switch {
	case !p.certs:
		return "the listener requires a secret and the dialer has none: " + sameSecret
	case p.key == nil:
		return "the listener requires certificates and the dialer has none: set CertFile, KeyFile and CAFile"
	}
	return "the listener requires certificates and a secret and the dialer has none: " +
		"set CertFile, KeyFile, CAFile and Secret"
}

// prove returns the proof of one role in one TLS session.
func (p *Protection) prove(conn *tls.Conn, label string) ([]byte, error) {
	key, err := p.key()
	if err != nil {
		return nil, fmt.Errorf("greeting: the secret's key: %w", err)
	}
	state := conn.ConnectionState()
	exporter, err := state.ExportKeyingMaterial(exporterLabel, nil, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("greeting: the session's exporter: %w", err)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(label)) // all labels have the same length
	mac.Write(exporter)
	return mac.Sum(nil), nil
}

// explain turns an error of TLS into a refusal. It is called when a handshake fails, and when the
// first read after it fails: a dialer has finished its handshake before the listener looks at its
// certificate.
func (p *Protection) explain(conn *tls.Conn, err error) error {
	state := conn.ConnectionState()
	var inClear tls.RecordHeaderError
	var bad *tls.CertificateVerificationError
	var alert *net.OpError
	switch {
	case errors.As(err, &inClear):
		return explainClear(inClear)
	case errors.As(err, &bad):
		return &Refusal{Code: RefuseUnauthorized, Text: "the peer's certificate is not accepted: " +
			bad.Err.Error() + "; its CA is another one, or it has a secret instead: set CAFile alike on both sides"}
	case errors.As(err, &alert) && alert.Op == "remote error":
		return p.explainAlert(alert)
	case p.certs && state.NegotiatedProtocol == alpn && len(state.PeerCertificates) == 0:
		return &Refusal{Code: RefuseUnauthorized, Text: "the dialer has no certificate: set CertFile, KeyFile and CAFile"}
	}
	return &Refusal{Code: RefuseProtocol, Text: err.Error()}
}

// explainClear is explain for a peer that did not answer the TLS handshake with TLS. TLS keeps only
// the first five bytes of its answer, which is one of two things.
func explainClear(err tls.RecordHeaderError) error {
	if head := err.RecordHeader[:]; string(head[:len(greetingMagic)]) == greetingMagic {
		if version := head[len(greetingMagic)]; version != Protocol {
			return &Refusal{Code: RefuseProtocol, Text: versionsDiffer(version, Protocol), Remote: true}
		}
		return &Refusal{Code: RefuseMismatch, Text: textPlainListener, Remote: true}
	}
	return malformedGreeting("the peer does not speak TLS, or not from the first byte")
}

// explainAlert is explain for a peer whose TLS has sent an alert.
func (p *Protection) explainAlert(alert *net.OpError) error {
	r := &Refusal{Code: RefuseProtocol, Text: "the peer's TLS says: " + alert.Err.Error(), Remote: true}
	// RFC 8446, section 6: bad, unsupported, revoked, expired or unknown certificate; unknown CA;
	// access denied; no certificate.
	isCert := func(code tls.AlertError) bool { return code.Error() == alert.Err.Error() }
	if slices.ContainsFunc([]tls.AlertError{42, 43, 44, 45, 46, 48, 49, 116}, isCert) {
		r.Code = RefuseUnauthorized
		if p.certs {
			r.Text += "; it accepts certificates of another CA, or has a secret instead: set CAFile alike on both sides"
		} else {
			r.Text += "; it requires certificates: set CertFile, KeyFile and CAFile"
		}
	}
	return r
}

// derivedKey returns the key of one secret. The first call computes it; other calls wait for that.
type derivedKey func() ([]byte, error)

// secretKeyID names a key. Only tests use other rounds than secretRounds.
type secretKeyID struct {
	secret Secret
	rounds int
}

// secretKeys holds the keys of this process. All links of a runtime use one secret, as several
// runtimes may.
var secretKeys = struct {
	mu sync.Mutex // guards following; leaf
	of map[secretKeyID]derivedKey
}{of: make(map[secretKeyID]derivedKey)}

// keyOfSecret returns the key of a secret, computed or not.
func keyOfSecret(secret Secret, rounds int) derivedKey {
	secretKeys.mu.Lock()
	defer secretKeys.mu.Unlock()
	id := secretKeyID{secret, rounds}
	key := secretKeys.of[id]
	if key == nil {
		key = sync.OnceValues(func() ([]byte, error) {
			return pbkdf2.Key(sha256.New, string(secret), []byte(secretSalt), rounds, sha256.Size)
		})
		secretKeys.of[id] = key
	}
	return key
}

// throwawayTLS returns the two configurations of links with a secret and without certificates. The
// throw-away certificate reveals nothing, not even when it was made.
func throwawayTLS() (client, server *tls.Config, err error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a certificate: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		return nil, nil, fmt.Errorf("make a certificate: %w", err)
	}
	client, server = linkTLS(&tls.Config{}), linkTLS(&tls.Config{})
	client.InsecureSkipVerify = true // the proof identifies the peer
	server.Certificates = []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}}
	return client, server, nil
}

// linkTLS sets what the configurations of all links have in common.
func linkTLS(cfg *tls.Config) *tls.Config {
	cfg.MinVersion = tls.VersionTLS13
	cfg.NextProtos = []string{alpn}
	cfg.SessionTicketsDisabled = true
	cfg.ClientSessionCache = nil
	return cfg
}

// mutualTLS returns the two configurations of links with certificates, or an error that says what
// to set.
func mutualTLS(cfg *tls.Config) (client, server *tls.Config, err error) {
	switch {
	case len(cfg.Certificates) == 0 && (cfg.GetCertificate == nil || cfg.GetClientCertificate == nil):
		return nil, nil, errors.New("TLS has no certificate, and every peer shows one: set CertFile and KeyFile, or " +
			"TLS.Certificates, or both TLS.GetCertificate and TLS.GetClientCertificate")
	case cfg.ClientCAs == nil && cfg.RootCAs == nil:
		return nil, nil, errors.New("TLS has no CA to check peers' certificates with: " +
			"set CAFile, or TLS.ClientCAs and TLS.RootCAs")
	case cfg.MaxVersion != 0 && cfg.MaxVersion < tls.VersionTLS13:
		return nil, nil, errors.New("TLS.MaxVersion is less than TLS 1.3, which is the least on a link: leave it out")
	case cfg.GetConfigForClient != nil:
		return nil, nil, errors.New("TLS.GetConfigForClient could let anybody in: " +
			"use TLS.GetCertificate for certificates that change")
	case cfg.InsecureSkipVerify && cfg.VerifyPeerCertificate == nil && cfg.VerifyConnection == nil:
		return nil, nil, errors.New("TLS.InsecureSkipVerify lets anybody pose as a peer: " +
			"leave it out, or set TLS.VerifyConnection")
	}
	client, server = linkTLS(cfg.Clone()), linkTLS(cfg.Clone())
	server.ClientAuth = tls.RequireAndVerifyClientCert
	if server.ClientCAs == nil {
		server.ClientCAs = cfg.RootCAs
	}
	if client.RootCAs == nil {
		client.RootCAs = cfg.ClientCAs
	}
	if client.ServerName == "" && !client.InsecureSkipVerify {
		verifyByCA(client)
	}
	return client, server, nil
}

// verifyByCA makes a dialer check that a CA has signed the certificate of the listener, for
// whatever name. It does what crypto/tls does, except for the name, and calls the functions of the
// user in the same order.
func verifyByCA(client *tls.Config) {
	verifyPeer, verifyConnection := client.VerifyPeerCertificate, client.VerifyConnection
	roots, now := client.RootCAs, client.Time
	client.InsecureSkipVerify = true
	client.VerifyPeerCertificate = nil
	client.VerifyConnection = func(state tls.ConnectionState) error {
		chains, err := verifyChain(state.PeerCertificates, roots, now)
		if err != nil {
			return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
		}
		state.VerifiedChains = chains
		if verifyPeer != nil {
			raw := make([][]byte, len(state.PeerCertificates))
			for i, cert := range state.PeerCertificates {
				raw[i] = cert.Raw
			}
			if err := verifyPeer(raw, chains); err != nil {
				return err
			}
		}
		if verifyConnection != nil {
			return verifyConnection(state)
		}
		return nil
	}
}

// verifyChain returns the chains from the certificate of a listener to the roots.
func verifyChain(certs []*x509.Certificate, roots *x509.CertPool, now func() time.Time) ([][]*x509.Certificate, error) {
	if len(certs) == 0 {
		return nil, errors.New("no certificate")
	}
	opts := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()} // for server authentication
	if now != nil {
		opts.CurrentTime = now()
	}
	for _, cert := range certs[1:] {
		opts.Intermediates.AddCert(cert)
	}
	return certs[0].Verify(opts)
}

// LoadTLS returns the configuration of mutual TLS with the certificate and the key in these PEM
// files, and the CAs that sign the certificates of peers. If keyFile is empty, the key is in
// certFile.
func LoadTLS(certFile, keyFile, caFile string) (*tls.Config, error) {
	switch {
	case certFile == "":
		return nil, errors.New("CertFile is missing: CertFile, KeyFile and CAFile belong together")
	case caFile == "":
		return nil, errors.New("CAFile is missing: peers' certificates are checked with it, " +
			"so CertFile and KeyFile alone are not enough")
	case keyFile == "":
		keyFile = certFile
	}
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("CertFile %s, KeyFile %s: %w", certFile, keyFile, err)
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("CAFile: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("CAFile %s: no PEM certificate in it", caFile)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{cert},
		RootCAs:      pool,
		ClientCAs:    pool,
		ClientAuth:   tls.RequireAndVerifyClientCert,
		MinVersion:   tls.VersionTLS13,
	}, nil
}
