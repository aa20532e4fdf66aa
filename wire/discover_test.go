package wire

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// testDatagrams are valid datagrams.
func testDatagrams() map[string]*Datagram {
	at := time.Unix(1_800_000_000, 0)
	return map[string]*Datagram{
		"question": {Kind: DatagramQuestion, Question: ID{1}, Time: at, From: ID{2}, Port: 1},
		"for a name": {
			Kind: DatagramQuestion, Question: ID{1}, Time: at, From: ID{2}, Port: 65535, Addr: netip.MustParseAddr("::1"),
			Name: strings.Repeat("n", MaxDatagramName),
		},
		"answer": {Kind: DatagramAnswer, Question: ID{1}, Time: at, From: ID{2}, Port: 51350, Addr: netip.MustParseAddr("127.0.0.2")},
	}
}

func encodeDatagram(tb testing.TB, p *Protection, d *Datagram) []byte {
	tb.Helper()
	b, err := p.EncodeDatagram(d)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

var datagramCmp = cmpopts.EquateComparable(netip.Addr{})

func TestDatagramsGoThrough(t *testing.T) {
	for name, p := range allKinds(t) {
		for what, d := range testDatagrams() {
			b := encodeDatagram(t, p, d)
			got, err := p.DecodeDatagram(b)
			if err != nil {
				t.Fatalf("%s, %s: %v", name, what, err)
			}
			if diff := cmp.Diff(d, got, datagramCmp); diff != "" {
				t.Errorf("%s, %s: %s", name, what, diff)
			}
			if len(b) > MaxDatagram || MaxDatagram > 512 {
				t.Errorf("%s, %s: %d bytes", name, what, len(b))
			}
		}
	}
}

// TestAnswersAreNoLarger checks that no answer is larger than its question: discovery cannot be
// used to amplify an attack.
func TestAnswersAreNoLarger(t *testing.T) {
	all := testDatagrams()
	for name, p := range allKinds(t) {
		question, answer := encodeDatagram(t, p, all["question"]), encodeDatagram(t, p, all["answer"])
		if len(answer) > len(question) {
			t.Errorf("%s: an answer of %d bytes to a question of %d", name, len(answer), len(question))
		}
	}
}

// TestDatagramsOfOthers checks that only the same kind of protection, with the same secret, is
// accepted.
func TestDatagramsOfOthers(t *testing.T) {
	kinds := allKinds(t)
	kinds["another secret"] = withSecret(t, "wrong")
	for from, p := range kinds {
		b := encodeDatagram(t, p, testDatagrams()["for a name"])
		for to, q := range kinds {
			if _, err := q.DecodeDatagram(b); (from == to) != (err == nil) || err != nil && !errors.Is(err, ErrDatagramNotOurs) {
				t.Errorf("from %s to %s: %v", from, to, err)
			}
		}
	}
}

// TestDatagramHidesAll looks for what a secret is to hide, and changes each byte.
func TestDatagramHidesAll(t *testing.T) {
	p := withSecret(t, "right")
	d := testDatagrams()["for a name"]
	d.Name = "a very secret name"
	b := encodeDatagram(t, p, d)
	for what, text := range map[string][]byte{"name": []byte(d.Name), "from": d.From[:], "question": d.Question[:]} {
		if bytes.Contains(b, text) {
			t.Errorf("the %s can be read", what)
		}
	}
	for i := range b {
		b[i] ^= 1
		if _, err := p.DecodeDatagram(b); err == nil {
			t.Errorf("byte %d was changed, and nobody minds", i)
		}
		b[i] ^= 1
	}
	if bytes.Equal(b, encodeDatagram(t, p, d)) {
		t.Error("the same datagram twice")
	}
}

func TestBadDatagrams(t *testing.T) {
	var p *Protection
	good := encodeDatagram(t, p, testDatagrams()["answer"])
	set := func(i int, v ...byte) []byte {
		b := bytes.Clone(good)
		copy(b[i:], v)
		return b
	}
	zero := make([]byte, 16)
	for what, b := range map[string][]byte{
		"nothing": nil, "a head": good[:datagramHead], "short": good[:len(good)-1], "long": append(bytes.Clone(good), "x"...),
		"far too long": append(bytes.Clone(good), make([]byte, MaxDatagram)...),
		"other magic":  set(0, 'X'), "kind 0": set(6, 0), "kind 3": set(6, 3), "no question": set(7, zero...), "no sender": set(31, zero...),
		"no port": set(47, 0, 0), "not loopback": set(49, netip.MustParseAddr("10.0.0.1").AsSlice()...),
		"not loopback, mapped": set(49, netip.MustParseAddr("::ffff:10.0.0.1").AsSlice()...),
	} {
		if d, err := p.DecodeDatagram(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %+v, %v", what, d, err)
		}
	}
	if _, err := p.DecodeDatagram(set(4, 2)); !errors.Is(err, ErrDatagramNotOurs) {
		t.Errorf("another version: %v", err)
	}
	for what, d := range map[string]Datagram{
		"zero": {}, "long name": {Kind: DatagramQuestion, Question: ID{1}, From: ID{1}, Port: 1, Name: strings.Repeat("n", MaxDatagramName+1)},
		"answer with a name": {Kind: DatagramAnswer, Question: ID{1}, From: ID{1}, Port: 1, Name: "n"},
		"elsewhere":          {Kind: DatagramAnswer, Question: ID{1}, From: ID{1}, Port: 1, Addr: netip.MustParseAddr("10.0.0.1")},
	} {
		if _, err := p.EncodeDatagram(&d); err == nil {
			t.Errorf("%s: encoded", what)
		}
	}
}

func FuzzDecodeDatagram(f *testing.F) {
	kinds := map[bool]*Protection{false: nil, true: withSecret(f, "right")}
	for secret, p := range kinds {
		for _, d := range testDatagrams() {
			b := encodeDatagram(f, p, d)
			f.Add(b, secret)
			f.Add(b[:len(b)-1], secret)
			f.Add(append(bytes.Clone(b), 0), secret)
		}
	}
	f.Add([]byte(datagramMagic), false)
	f.Fuzz(func(t *testing.T, b []byte, secret bool) {
		p := kinds[secret]
		d, err := p.DecodeDatagram(b)
		if err == nil {
			again, err := p.EncodeDatagram(d)
			if err != nil || !secret && !bytes.Equal(again, b) {
				t.Errorf("%+v does not come out as it went in: %v", d, err)
			}
		}
		if d, err := decodeDatagramFields(b); err == nil { // as if the seal were right
			if fault := d.fault(); fault != "" {
				t.Error(fault)
			}
		}
	})
}
