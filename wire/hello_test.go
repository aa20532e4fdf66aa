package wire

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestID(t *testing.T) {
	a, b := ID{1, 2, 0xab, 0xcd, 5}, ID{1, 2, 0xab, 0xce}
	if a.String() != "0102abcd" || a.Compare(b) >= 0 || b.Compare(a) <= 0 || a.Compare(ID{1, 2, 0xab, 0xcd, 5}) != 0 {
		t.Errorf("%v, %v", a, b)
	}
	if a.IsZero() || !(ID{}).IsZero() || NewID().IsZero() || NewID().Compare(NewID()) == 0 {
		t.Error("identities are not what they should be")
	}
}

func TestHelloGoesThrough(t *testing.T) {
	own := testHello(strings.Repeat("ü", 200) + "\xff")
	own.Build = strings.Repeat("b", 256)
	own.Host = strings.Repeat("h", 256)
	own.Port, own.Registry, own.Epoch, own.Roles, own.Pulse = 65535, 1<<64-1, 1<<64-1, 1<<32-1, time.Hour
	sent, err := own.sendable()
	if err != nil {
		t.Fatal(err)
	}
	if len(sent.Name) != 256 || !utf8.ValidString(sent.Name) {
		t.Errorf("name is %q", sent.Name)
	}
	msg := greetingMessage(t, greetHello, helloBody{Proof: make([]byte, 32), Hello: sent}) // the longest possible
	var got helloBody
	if err := decodeGreeting(msg[greetingHead:], &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sent, got.Hello); diff != "" {
		t.Error(diff)
	}
	t.Logf("%d bytes", len(msg))
}

func TestRefusalGoesThrough(t *testing.T) {
	long := &Refusal{Code: RefuseBusy, Text: strings.Repeat("ü", 600)}
	err := decodeRefusal(greetingMessage(t, greetRefuse, long)[greetingHead:], true)
	wantRefusal(t, err, RefuseBusy, true, strings.Repeat("ü", maxRefusalText/2))
	for code := range RefusalCode(20) {
		if code.String() == "" {
			t.Errorf("code %d has no name", code)
		}
	}
}

// The bytes in PROTOCOL.md. A change of them is another protocol.
func TestGreetingBytes(t *testing.T) {
	proof := bytes.Repeat([]byte{0xee}, 32)
	hello := Hello{
		ID: ID{0: 0x11, 15: 0x22}, Name: "n", Host: "h", Port: 443, Build: "b", Registry: 1 << 63, Epoch: 7, Roles: 5, Pulse: time.Second,
	}
	for want, got := range map[string][]byte{
		"d173636f 01 01 0002 81 40":                              greetingMessage(t, greetKnock, knockBody{}),
		"d173636f 01 01 0023 81 5820" + strings.Repeat("ee", 32): greetingMessage(t, greetKnock, knockBody{Proof: proof}),
		"d173636f 01 03 0000":                                    greetingMessage(t, greetWelcome, nil),
		"d173636f 01 ff 0004 06 776879":                          greetingMessage(t, greetRefuse, &Refusal{Code: RefuseMalformed, Text: "why"}),
		"d173636f 01 02 002d 82 40 89 50 11" + strings.Repeat("00", 14) + "22" + // the id
			"616e 6168 1901bb 6162 1b8000000000000000 07 05 1a3b9aca00": greetingMessage(t, greetHello, helloBody{Hello: hello}),
	} {
		if got := hex.EncodeToString(got); got != strings.ReplaceAll(want, " ", "") {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// badKnocks are what a plain listener refuses as the first message of a dialer.
func badKnocks() map[string][]byte {
	ok := func(body ...byte) []byte { return greetingBytes(Protocol, greetKnock, body) }
	tooLong := greetingBytes(Protocol, greetKnock, make([]byte, MaxHello-greetingHead+1))
	return map[string][]byte{
		"HTTP request":           []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
		"zeros":                  make([]byte, 100),
		"random":                 []byte("\x8e\x13\x02\xff\x91\x12\x44\x01\x01\x67"),
		"almost the magic":       []byte("\xd1scp\x01\x01\x00\x02\x81\x40"),
		"one byte too long":      tooLong,
		"claims all there is":    append(greetingBytes(Protocol, greetKnock, nil)[:6], 0xff, 0xff),
		"a hello":                greetingBytes(Protocol, greetHello, []byte{0x81, 0x40}),
		"a welcome":              greetingBytes(Protocol, greetWelcome, nil),
		"of no kind":             greetingBytes(Protocol, 99, nil),
		"refuses without reason": greetingBytes(Protocol, greetRefuse, nil),
		"no body":                ok(),
		"null":                   ok(0xf6),
		"undefined":              ok(0xf7),
		"null inside":            ok(0x81, 0xf6),
		"empty array":            ok(0x80),
		"two items":              ok(0x82, 0x40, 0x40),
		"trailing byte":          ok(0x81, 0x40, 0x00),
		"truncated":              ok(0x81, 0x58, 0x20, 0x00),
		"text for bytes":         ok(0x81, 0x60),
		"numbers for bytes":      ok(0x81, 0x82, 0x01, 0x02),
		"map":                    ok(0xa1, 0x65, 'P', 'r', 'o', 'o', 'f', 0x40),
		"tag":                    ok(0xc2, 0x81, 0x40),
		"tag inside":             ok(0x81, 0xc2, 0x40),
		"indefinite array":       ok(0x9f, 0x40, 0xff),
		"indefinite bytes":       ok(0x81, 0x5f, 0x40, 0xff),
		"long form of length":    ok(0x81, 0x58, 0x00),
		"2^63 items":             ok(0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
		"2^62 bytes":             ok(0x81, 0x5b, 0x3f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
		"deep":                   ok(bytes.Repeat([]byte{0x81}, 900)...),
	}
}

func TestAcceptRefusesWhatIsNoKnock(t *testing.T) {
	t.Parallel()
	for name, msg := range badKnocks() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dc, lc := tcpPair(t)
			done := accepting(t.Context(), lc, greeter{own: testHello("listener")})
			say(t, dc, msg)
			if strings.HasPrefix(string(msg), greetingMagic) {
				if r := hearRefusal(t, dc); r.Code != RefuseMalformed {
					t.Errorf("heard %v", r)
				}
			}
			dc.Close()
			wantRefusal(t, (<-done).err, RefuseMalformed, false, "not a greeting of discoro")

			// With TLS a dialer in clear learns what is missing, and junk gets no answer.
			dc, lc = tcpPair(t)
			done = accepting(t.Context(), lc, greeter{p: withSecret(t, "right"), own: testHello("listener")})
			say(t, dc, msg)
			hangUp(t, dc)
			heard, _ := io.ReadAll(dc)
			dc.Close()
			if err := (<-done).err; strings.HasPrefix(string(msg), greetingMagic) != strings.HasPrefix(string(heard), greetingMagic) {
				t.Errorf("heard %q, error %v", heard, err)
			}
		})
	}
}

// badHellos are what both sides refuse as the hello of the other.
func badHellos(tb testing.TB) map[string][]byte {
	tb.Helper()
	change := func(f func(*helloBody)) []byte {
		h := helloBody{Hello: testHello("peer")}
		f(&h)
		msg, err := greetingEnc.Marshal(h)
		if err != nil {
			tb.Fatal(err)
		}
		return msg
	}
	plain := change(func(*helloBody) {})
	replace := func(old, with string) []byte {
		b := bytes.Replace(plain, []byte(old), []byte(with), 1)
		if bytes.Equal(b, plain) {
			tb.Fatalf("no %q in %q", old, plain)
		}
		return b
	}
	long := strings.Repeat("x", 257)
	return map[string][]byte{
		"null":          {0xf6},
		"null hello":    {0x82, 0x40, 0xf6},
		"null name":     replace("\x64peer", "\xf6"),
		"bytes as name": replace("\x64peer", "\x44peer"),
		"no UTF-8":      replace("\x64peer", "\x64p\xff\xfer"),
		"text as port":  replace("\x19\xc8\x93", "\x6251"),
		"float as port": replace("\x19\xc8\x93", "\xf9\x00\x00"),
		"null id":       append([]byte{0x82, 0x40, 0x89, 0xf6}, plain[20:]...),
		"short id":      append([]byte{0x82, 0x40, 0x89, 0x4f}, plain[5:]...),
		"one too few":   replace("\x89\x50", "\x88\x50"),
		"one too many":  append(replace("\x89\x50", "\x8a\x50"), 0),
		"trailing":      append(bytes.Clone(plain), 0),
		"truncated":     plain[:len(plain)-1],
		"no id":         change(func(h *helloBody) { h.Hello.ID = ID{} }),
		"long name":     change(func(h *helloBody) { h.Hello.Name = long }),
		"long host":     change(func(h *helloBody) { h.Hello.Host = long }),
		"long build":    change(func(h *helloBody) { h.Hello.Build = long }),
		"port -1":       change(func(h *helloBody) { h.Hello.Port = -1 }),
		"port 65536":    change(func(h *helloBody) { h.Hello.Port = 65536 }),
		"pulse 0":       change(func(h *helloBody) { h.Hello.Pulse = 0 }),
		"pulse < 0":     change(func(h *helloBody) { h.Hello.Pulse = -1 }),
		"pulse > 1h":    change(func(h *helloBody) { h.Hello.Pulse = time.Hour + 1 }),
	}
}

func TestBadHellosAreRefused(t *testing.T) {
	t.Parallel()
	never := func(Hello) *Refusal { t.Error("asked about a bad hello"); return nil }
	for name, body := range badHellos(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dc, lc := tcpPair(t)
			done := accepting(t.Context(), lc, greeter{nil, testHello("listener"), never})
			say(t, dc, greetingMessage(t, greetKnock, knockBody{}))
			hear(t, dc)
			say(t, dc, greetingBytes(Protocol, greetHello, body))
			if r := hearRefusal(t, dc); r.Code != RefuseMalformed {
				t.Errorf("heard %v", r)
			}
			dc.Close()
			wantRefusal(t, (<-done).err, RefuseMalformed, false, "not a greeting of discoro: its ")

			dc, lc = tcpPair(t)
			done = dialing(t.Context(), dc, greeter{nil, testHello("dialer"), never})
			hear(t, lc)
			say(t, lc, greetingBytes(Protocol, greetHello, body))
			if r := hearRefusal(t, lc); r.Code != RefuseMalformed {
				t.Errorf("heard %v", r)
			}
			lc.Close()
			wantRefusal(t, (<-done).err, RefuseMalformed, false, "not a greeting of discoro: its ")
		})
	}
}

func TestOtherBadMessages(t *testing.T) {
	t.Parallel()
	hello := helloBody{Hello: testHello("peer")}
	proven := helloBody{Proof: make([]byte, 32), Hello: testHello("peer")}

	dc, lc := tcpPair(t)
	done := accepting(t.Context(), lc, greeter{own: testHello("listener")})
	say(t, dc, append(greetingMessage(t, greetKnock, knockBody{}), greetingMessage(t, greetHello, proven)...))
	hangUp(t, dc)
	wantRefusal(t, (<-done).err, RefuseMalformed, false, "a second proof")

	for _, welcome := range [][]byte{greetingBytes(Protocol, greetWelcome, []byte{0x80}), greetingMessage(t, greetHello, hello)} {
		dc, lc := tcpPair(t)
		done := dialing(t.Context(), dc, greeter{own: testHello("dialer")})
		say(t, lc, append(greetingMessage(t, greetHello, hello), welcome...))
		hangUp(t, lc)
		wantRefusal(t, (<-done).err, RefuseMalformed, false, "a greeting of discoro")
	}

	// A message that ends in the middle because the connection ends.
	full := greetingMessage(t, greetKnock, knockBody{Proof: make([]byte, 32)})
	for n := range full {
		dc, lc := tcpPair(t)
		done := accepting(t.Context(), lc, greeter{own: testHello("listener")})
		say(t, dc, full[:n])
		dc.Close()
		if err := (<-done).err; !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

// FuzzDecodeGreeting feeds all decoders. What one accepts is within the bounds, and is encoded
// again as it was.
func FuzzDecodeGreeting(f *testing.F) {
	for _, msg := range badKnocks() {
		f.Add(msg)
	}
	for _, body := range badHellos(f) {
		f.Add(greetingBytes(Protocol, greetHello, body))
	}
	f.Add(greetingMessage(f, greetKnock, knockBody{Proof: make([]byte, 32)}))
	f.Add(greetingMessage(f, greetHello, helloBody{Proof: make([]byte, 32), Hello: testHello("peer")}))
	f.Add(greetingMessage(f, greetRefuse, &Refusal{Code: RefuseSelf, Text: "why\x1b\n\xff"}))
	f.Fuzz(func(t *testing.T, msg []byte) {
		var head [greetingHead]byte
		n := copy(head[:], msg)
		g := &greeting{}
		if _, size, err := g.parsePreamble(head[:]); err == nil && (size > MaxHello || g.mute) {
			t.Errorf("%d bytes, mute %v", size, g.mute)
		}
		body := msg[n:]
		var knock knockBody
		if decodeGreeting(body, &knock) == nil && len(knock.Proof) > len(body) {
			t.Errorf("a proof of %d bytes", len(knock.Proof))
		}
		var h helloBody
		if decodeGreeting(body, &h) == nil && h.Hello.fault() == "" {
			again, err := h.Hello.sendable()
			if err != nil || again != h.Hello {
				t.Errorf("%+v becomes %+v, %v", h.Hello, again, err)
			}
		}
		for _, proven := range []bool{false, true} {
			var r *Refusal
			if err := decodeRefusal(body, proven); !errors.As(err, &r) || len(r.Text) > maxRefusalText*3 || !utf8.ValidString(r.Text) {
				t.Errorf("%v", err)
			}
		}
	})
}

// FuzzAccept feeds a listener. It accepts nothing but a greeting, and always ends.
func FuzzAccept(f *testing.F) {
	for _, msg := range badKnocks() {
		f.Add(msg, false)
		f.Add(msg, true)
	}
	knock := greetingMessage(f, greetKnock, knockBody{})
	for _, body := range badHellos(f) {
		f.Add(append(bytes.Clone(knock), greetingBytes(Protocol, greetHello, body)...), false)
	}
	f.Add(append(bytes.Clone(knock), greetingMessage(f, greetHello, helloBody{Hello: testHello("peer")})...), false)
	f.Add([]byte("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03"), true)
	secret := withSecret(f, "right")
	f.Fuzz(func(t *testing.T, msg []byte, protected bool) {
		p := secret
		if !protected {
			p = nil
		}
		near, far := net.Pipe()
		ctx, cancel := context.WithTimeout(t.Context(), greetingPatience)
		defer cancel()
		admits := 0
		done := make(chan greetingResult, 1)
		go func() {
			conn, peer, err := Accept(ctx, near, p, func() Hello { return testHello("listener") },
				func(Hello) *Refusal { admits++; return nil })
			near.Close() // nobody reads what follows a valid greeting, and a pipe has no buffer
			done <- greetingResult{conn, peer, err}
		}()
		heard := make(chan []byte, 1)
		go func() {
			b, _ := io.ReadAll(far)
			heard <- b
		}()
		_, _ = far.Write(msg) // returns early when the greeting is refused early
		far.Close()
		l := <-done
		<-heard
		if l.err == nil && (protected || admits != 1 || l.peer.fault() != "") {
			t.Errorf("let in %+v, asked %d times", l.peer, admits)
		}
		if ctx.Err() != nil {
			t.Error("it took until the deadline")
		}
	})
}
