package wire

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// The datagrams of discovery. A question goes to everybody on the local network; an answer goes
// back to the sender of the question. Their fields have fixed sizes, except the name, which only a
// question has. So an answer is never larger than its question.
const (
	// MaxDatagram is the largest size of a datagram, in bytes.
	MaxDatagram = datagramHead + datagramNonce + datagramFields + MaxDatagramName + datagramTag
	// MaxDatagramName is the longest name that a question may ask for, in bytes.
	MaxDatagramName = 256

	datagramMagic   = "DSCU"
	datagramVersion = 1
	datagramLabel   = "discoro/1 datagram" // what its key is derived for
	datagramHead    = 6                    // magic, version, protection
	datagramFields  = 59                   // kind, question, time, from, port, address
	datagramNonce   = 12
	datagramTag     = 16
)

// How a datagram is protected, in its head.
const (
	datagramClear  = 0 // not at all
	datagramCerts  = 1 // not at all; links use certificates
	datagramSealed = 2 // by the secret
)

// ErrDatagramNotOurs is returned for a well-formed datagram of a runtime whose links are protected
// in another way, or with another secret.
var ErrDatagramNotOurs = errors.New("a datagram of other runtimes")

// DatagramKind says what a datagram is for.
type DatagramKind uint8

// The kinds of datagrams. Numbers are never reused.
const (
	DatagramQuestion DatagramKind = 1 // who is there; with a name: who has a coroutine of that name
	DatagramAnswer   DatagramKind = 2 // the answer: the sender is there, or has it
)

// Datagram is one message of discovery. The receiver must not trust it: only the greeting of a link
// proves who is there.
type Datagram struct {
	Kind     DatagramKind
	Question ID         // random; an answer has that of its question
	Time     time.Time  // when it was sent, in whole seconds
	From     ID         // the runtime that sends the datagram
	Port     int        // the TCP port that it listens on, 1 to 65535
	Addr     netip.Addr // the loopback address that it listens on; otherwise none: the address is that of the datagram
	Name     string     // what a question asks for; empty: everybody
}

// fault returns what is wrong with a datagram; empty when nothing is.
func (d *Datagram) fault() string {
	switch {
	case d.Kind != DatagramQuestion && d.Kind != DatagramAnswer:
		return fmt.Sprintf("kind %d", d.Kind)
	case d.Question.IsZero() || d.From.IsZero():
		return "an id is zero"
	case d.Port < 1 || d.Port > 1<<16-1:
		return fmt.Sprintf("port %d", d.Port)
	case d.Addr.IsValid() && (!d.Addr.IsLoopback() || d.Addr.Zone() != "" || d.Addr.Is4In6()):
		return "an address that is not loopback"
	case len(d.Name) > MaxDatagramName || d.Name != "" && d.Kind == DatagramAnswer:
		return "a name that is too long, or in an answer"
	}
	return ""
}

// EncodeDatagram encodes d for runtimes with the same protection. With a secret nobody else can
// read or make it; the key of the secret must be [Protection.Ready].
func (p *Protection) EncodeDatagram(d *Datagram) ([]byte, error) {
	if fault := d.fault(); fault != "" {
		return nil, errors.New("own datagram: " + fault)
	}
	head := p.datagramStart()
	fields := make([]byte, 0, datagramFields+len(d.Name))
	fields = append(fields, byte(d.Kind))
	fields = append(fields, d.Question[:]...)
	fields = binary.BigEndian.AppendUint64(fields, uint64(d.Time.Unix())) //nolint:gosec // read back in the same way
	fields = append(fields, d.From[:]...)
	fields = binary.BigEndian.AppendUint16(fields, uint16(d.Port)) //nolint:gosec // checked above
	var addr [16]byte
	if d.Addr.IsValid() {
		addr = d.Addr.As16()
	}
	fields = append(fields, addr[:]...)
	fields = append(fields, d.Name...)
	if !p.hasSecret() {
		return append(head, fields...), nil
	}
	aead, err := p.datagramCipher()
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, datagramNonce)
	rand.Read(nonce) // never fails: it ends the program instead
	return aead.Seal(append(head, nonce...), nonce, fields, head), nil
}

// DecodeDatagram decodes a datagram that EncodeDatagram made. The errors are [ErrMalformed], and
// [ErrDatagramNotOurs] for a datagram of other runtimes.
func (p *Protection) DecodeDatagram(b []byte) (*Datagram, error) {
	if len(b) < datagramHead || len(b) > MaxDatagram || string(b[:len(datagramMagic)]) != datagramMagic {
		return nil, fmt.Errorf("%w: not a datagram of discoro", ErrMalformed)
	}
	want := p.datagramStart()
	if v := b[len(datagramMagic)]; v != datagramVersion {
		return nil, fmt.Errorf("%w: a datagram of version %d, this is version %d", ErrDatagramNotOurs, v, datagramVersion)
	}
	if b[datagramHead-1] != want[datagramHead-1] {
		return nil, fmt.Errorf("%w: their links are protected in another way", ErrDatagramNotOurs)
	}
	fields := b[datagramHead:]
	if p.hasSecret() {
		if len(fields) < datagramNonce+datagramTag {
			return nil, fmt.Errorf("%w: a datagram that is too short", ErrMalformed)
		}
		aead, err := p.datagramCipher()
		if err != nil {
			return nil, err
		}
		fields, err = aead.Open(nil, fields[:datagramNonce], fields[datagramNonce:], want)
		if err != nil {
			return nil, fmt.Errorf("%w: they have another secret", ErrDatagramNotOurs)
		}
	}
	return decodeDatagramFields(fields)
}

func decodeDatagramFields(b []byte) (*Datagram, error) {
	if len(b) < datagramFields {
		return nil, fmt.Errorf("%w: a datagram that is too short", ErrMalformed)
	}
	d := &Datagram{
		Kind: DatagramKind(b[0]),
		Time: time.Unix(int64(binary.BigEndian.Uint64(b[17:])), 0), //nolint:gosec // any number is a time
		Port: int(binary.BigEndian.Uint16(b[41:])),
		Name: string(b[datagramFields:]),
	}
	copy(d.Question[:], b[1:])
	copy(d.From[:], b[25:])
	if addr := [16]byte(b[43:datagramFields]); addr != [16]byte{} {
		d.Addr = netip.AddrFrom16(addr).Unmap()
	}
	if fault := d.fault(); fault != "" {
		return nil, fmt.Errorf("%w: a datagram: %s", ErrMalformed, fault)
	}
	return d, nil
}

// datagramStart returns the head of p's datagrams.
func (p *Protection) datagramStart() []byte {
	protection := byte(datagramClear)
	if p != nil && p.certs {
		protection |= datagramCerts
	}
	if p.hasSecret() {
		protection |= datagramSealed
	}
	return append([]byte(datagramMagic), datagramVersion, protection)
}

func (p *Protection) hasSecret() bool { return p != nil && p.key != nil }

// datagramCipher returns the cipher that seals datagrams. Nonces are random: a secret is good for
// about 2^32 datagrams.
func (p *Protection) datagramCipher() (cipher.AEAD, error) {
	key, err := p.key()
	if err != nil {
		return nil, fmt.Errorf("the secret's key: %w", err)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(datagramLabel))
	block, err := aes.NewCipher(mac.Sum(nil))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
