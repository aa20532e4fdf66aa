package wire

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"sync"
	"testing"
)

// spy has a TLS session of its own with each side. It passes on what it reads, and keeps a copy.
func spy(t *testing.T, p *Protection, dialer, listener net.Conn) (heard func() (fromDialer, fromListener []byte)) {
	t.Helper()
	toDialer, toListener := tls.Server(dialer, p.server), tls.Client(listener, p.client)
	var d, l bytes.Buffer
	var wg sync.WaitGroup
	relay := func(to, from *tls.Conn, raw net.Conn, copied *bytes.Buffer) {
		_, _ = io.Copy(io.MultiWriter(to, copied), from)
		raw.Close()
	}
	wg.Go(func() { relay(toListener, toDialer, listener, &d) })
	wg.Go(func() { relay(toDialer, toListener, dialer, &l) })
	return func() ([]byte, []byte) {
		wg.Wait()
		return d.Bytes(), l.Bytes()
	}
}

// spied runs a greeting with a spy between the two sides.
func spied(t *testing.T, p, spyP *Protection) (d, l greetingResult, fromDialer, fromListener []byte) {
	t.Helper()
	dc, mc := tcpPair(t)
	mc2, lc := tcpPair(t)
	heard := spy(t, spyP, mc, mc2)
	accepted := accepting(t.Context(), lc, greeter{p: p, own: testHello("listener")})
	d = <-dialing(t.Context(), dc, greeter{p: p, own: testHello("dialer")})
	l = <-accepted
	fromDialer, fromListener = heard()
	return d, l, fromDialer, fromListener
}

// wantNothingTold checks that the bytes which a stranger has read reveal nothing.
func wantNothingTold(t *testing.T, b []byte) {
	t.Helper()
	for _, ours := range []string{"dialer", "listener", "10.0.0.7", "example.com"} {
		if bytes.Contains(b, []byte(ours)) && !bytes.Contains(b, []byte("the "+ours)) {
			t.Errorf("a stranger has read %q in %q", ours, b)
		}
	}
}

func TestManInTheMiddle(t *testing.T) {
	t.Parallel()
	d, l, fromDialer, fromListener := spied(t, withSecret(t, "right"), withSecret(t, "spy"))
	wantRefusal(t, d.err, RefuseUnauthorized, true, "the secrets differ")
	wantRefusal(t, l.err, RefuseUnauthorized, false, "the secrets differ")
	wantNothingTold(t, fromDialer)
	wantNothingTold(t, fromListener)
	if want := len(greetingBytes(0, 0, make([]byte, 35))); len(fromDialer) != want {
		t.Errorf("the dialer said %d bytes, want a knock of %d", len(fromDialer), want)
	}

	// With certificates the side that notices first closes the connection, and then the spy closes
	// the other one.
	d, l, fromDialer, fromListener = spied(t, protection(t, "", oneCA().config(oneCA())), withSecret(t, "spy"))
	if d.err == nil || l.err == nil || len(fromDialer)+len(fromListener) > 0 {
		t.Errorf("dialer: %v, listener: %v; they said %q, %q", d.err, l.err, fromDialer, fromListener)
	}
}

func TestReplayedKnock(t *testing.T) {
	t.Parallel()
	p := withSecret(t, "right")
	_, _, knock, _ := spied(t, p, withSecret(t, "spy"))
	dc, lc := tcpPair(t)
	done := accepting(t.Context(), lc, greeter{p: p, own: testHello("listener")})
	g := scripted(t, dc, withSecret(t, "spy"), true)
	say(t, g.conn, knock)
	if r := hearRefusal(t, g.conn); r.Code != RefuseUnauthorized {
		t.Errorf("heard %v", r)
	}
	dc.Close()
	wantRefusal(t, (<-done).err, RefuseUnauthorized, false, "the secrets differ")
}

// A false listener without the secret sends the dialer's own proof back, or a proof that a true
// listener gave in another session.
func TestReplayedAndReflectedHello(t *testing.T) {
	t.Parallel()
	p := withSecret(t, "right")
	otherSession := scriptedProof(t, p)
	for name, proof := range map[string]func(knock []byte) []byte{
		"reflected": func(knock []byte) []byte { return knock[3:] }, // behind the heads of an array and of a byte string
		"replayed":  func([]byte) []byte { return otherSession },
		"none":      func([]byte) []byte { return nil },
		"short":     func(knock []byte) []byte { return knock[3:19] },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dc, lc := tcpPair(t)
			done := dialing(t.Context(), dc, greeter{p: p, own: testHello("dialer")})
			g := scripted(t, lc, withSecret(t, "spy"), false)
			_, knock := hear(t, g.conn)
			wantNothingTold(t, knock)
			say(t, g.conn, greetingMessage(t, greetHello, helloBody{Proof: proof(knock), Hello: testHello("spy")}))
			if r := hearRefusal(t, g.conn); r.Code != RefuseUnauthorized {
				t.Errorf("heard %v", r)
			}
			lc.Close()
			wantRefusal(t, (<-done).err, RefuseUnauthorized, false, sameSecret)
		})
	}
}

// scriptedProof returns the proof that a true listener gave in another session.
func scriptedProof(t *testing.T, p *Protection) []byte {
	t.Helper()
	dc, lc := tcpPair(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := accepting(ctx, lc, greeter{p: p, own: testHello("listener")})
	g := scripted(t, dc, p, true)
	if err := g.knock(); err != nil {
		t.Fatal(err)
	}
	h, err := g.readHello("its hello")
	if err != nil || len(h.Proof) != 32 {
		t.Fatalf("proof of %d bytes, %v", len(h.Proof), err)
	}
	cancel()
	<-done
	return h.Proof
}

// A dialer does not believe reasons that would stop it for long from a listener that has proved
// nothing.
func TestRefusalOfAStranger(t *testing.T) {
	t.Parallel()
	for code, want := range map[RefusalCode]RefusalCode{
		RefuseSelf: RefuseUnauthorized, RefuseDuplicate: RefuseUnauthorized, RefuseClosed: RefuseUnauthorized,
		RefuseBusy: RefuseBusy, 200: 200,
	} {
		dc, lc := tcpPair(t)
		done := dialing(t.Context(), dc, greeter{p: withSecret(t, "right"), own: testHello("dialer")})
		g := scripted(t, lc, withSecret(t, "spy"), false)
		say(t, g.conn, greetingMessage(t, greetRefuse, &Refusal{Code: code}))
		wantRefusal(t, (<-done).err, want, true, "no reason given")
	}
}
