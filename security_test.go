package discoro

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/internal/testkit"
	"github.com/discoro/discoro/wire"
)

// stillServes checks that a runtime works.
func stillServes(t *testing.T, rt *Runtime) {
	t.Helper()
	cfg := Config{Name: "honest", Secret: rt.cfg.Secret}
	honest := testRuntime(t, cfg)
	connect(t, honest, rt.loc)
}

// garbageEndsTheLink sends bytes that are no frame, after a good greeting.
func garbageEndsTheLink(t *testing.T) {
	t.Parallel()
	head := func(size uint32, kind byte) []byte { return append(binary.BigEndian.AppendUint32(nil, size), kind) }
	tests := map[string][]byte{
		"text":             []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"no length":        head(0, 3),
		"claims 2^31":      head(1<<31, 3),
		"claims 2^32":      head(1<<32-1, 3),
		"unknown kind":     append(head(2, 99), 0x80),
		"unknown kind, 0":  append(head(2, 0), 0x80),
		"null":             append(head(2, byte(wire.KindWait)), 0xf6),
		"wrong cbor":       append(head(4, byte(wire.KindWait)), 0x82, 0x61, 0x61),
		"without an end":   append(head(3, byte(wire.KindLocate)), 0x9f, 0x01),
		"claims 2^63 cbor": append(head(11, byte(wire.KindLocate)), 0x82, 0x9b, 0x80, 0, 0, 0, 0, 0, 0, 0),
	}
	log := &testkit.Log{}
	rt := testRuntime(t, Config{Logger: log.Logger()})
	for name, garbage := range tests {
		h := newHostile(t, rt, false)
		l := h.link(rt)
		_, _ = h.frames.Write(garbage) // it may be thrown out before this returns
		if err := waitEnded(t, l); !strings.Contains(err.Error(), "malformed") {
			t.Errorf("%s: the link ended with %v", name, err)
		}
	}
	if n := log.Count("broke the protocol"); n != 1 {
		t.Errorf("%d lines of one address in one second:\n%s", n, log)
	}
	stillServes(t, rt)
}

// everyKindFromAnybody sends every kind of frame, empty, zero and senseless, to a runtime that has every
// role or none. The link may end, and nothing panics.
func everyKindFromAnybody(t *testing.T) {
	t.Parallel()
	log := (&testkit.Log{}).Logger()
	sched, err := NewScheduler(SchedulerConfig{Config: Config{Logger: log}})
	if err != nil {
		t.Fatal(err)
	}
	defer sched.Close()
	node, err := NewNode(NodeConfig{Config: Config{Logger: log}, Servers: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	plain := testRuntime(t, Config{Logger: log})
	targets := map[string]func() Location{
		"scheduler": sched.Location, "node": node.Location, "none": plain.Location,
		"server": func() Location { // another one when it has served
			for {
				if locs := node.Servers(); len(locs) == 1 {
					return locs[0]
				}
				waitFor(t.Context(), time.Millisecond)
			}
		},
	}
	meet := func(target func() Location) *hostile {
		var h *hostile
		testkit.Eventually(t, "it takes a peer", func() bool { // a server may be about to be replaced
			raw, err := net.Dial("tcp", target().String())
			if err == nil {
				h, err = greetHostile(t, raw, nil, false)
			}
			return err == nil
		})
		return h
	}
	zeros := func(n int) []byte { return append([]byte{0x80 | byte(n)}, bytes.Repeat([]byte{0}, n)...) }
	nulls := func(n int) []byte { return append([]byte{0x80 | byte(n)}, bytes.Repeat([]byte{0xf6}, n)...) }
	for kind := range 48 {
		for _, target := range targets {
			h := meet(target)
			for n := range 12 { // until one is malformed
				h.sendRaw(wire.Kind(kind), nulls(n))
				h.sendRaw(wire.Kind(kind), zeros(n))
			}
			h.session.Close()
		}
	}
	for _, f := range golden(t) {
		for _, target := range targets {
			h := meet(target)
			h.sendRaw(f.kind, f.payload)
			h.sendRaw(f.kind, f.payload) // once more, and it has been seen
			h.send(&wire.Bye{Reason: "enough"})
			_ = h.frames.SetReadDeadline(time.Now().Add(testkit.Patience))
			_, _ = io.Copy(io.Discard, h.frames) // until it is thrown out, or heard
		}
	}
	for _, rt := range []*Runtime{sched.Runtime, node.rt, plain} {
		stillServes(t, rt)
	}
}

// framesAboutNothing checks that frames that refer to something that does not exist do nothing, such as
// replies to no call.
func framesAboutNothing(t *testing.T) {
	t.Parallel()
	rt := testRuntime(t, Config{})
	h := newHostile(t, rt, false)
	l := h.link(rt)
	h.send(
		&wire.Reply{Call: 77, Outcome: wire.Outcome{Type: "no such type", Body: []byte("no cbor")}},
		&wire.Cancel{Call: 78},
		&wire.Message{To: 1 << 40, Body: []byte("x")},
		&wire.Terminate{Of: 1 << 40},
		&wire.Exit{To: 1 << 40},
		&wire.Pulse{Every: -1},
		&wire.Locate{Call: 1, Name: strings.Repeat("n", 40_000)},
	)
	r := wire.NewReader(h.frames, 1<<20)
	f, _, err := r.Next()
	if reply, ok := f.(*wire.Reply); err != nil || !ok || reply.Call != 1 || reply.Outcome.Err == nil {
		t.Errorf("%+v, %v: want the answer to what can be answered", f, err)
	}
	if l.Cause() != nil {
		t.Errorf("the link has ended: %v", l.Cause())
	}
}

// TestBye ends a link in the middle of other frames. Frames before the Bye count, and those behind it do
// not.
func TestBye(t *testing.T) {
	t.Parallel()
	rt := testRuntime(t, Config{})
	got := collect(t, rt, "collect")
	to := publicKey(rt.named("collect"))
	body, err := rt.encodeMessage("before")
	if err != nil {
		t.Fatal(err)
	}
	h := newHostile(t, rt, false)
	l := h.link(rt)
	long := strings.Repeat("so \x1b[31m long\n", 3_000)
	h.send(&wire.Message{To: to, Body: body}, &wire.Bye{Reason: long}, &wire.Message{To: to, Body: body})
	if msg := testkit.Next(t, got); msg != "before" {
		t.Errorf("received %v", msg)
	}
	err = waitEnded(t, l)
	if text := err.Error(); len(text) > 1000 || strings.ContainsAny(text, "\x1b\n") || !strings.Contains(text, "so ") {
		t.Errorf("the reason is told as %q", text[:min(len(text), 2000)])
	}
	select {
	case msg := <-got:
		t.Errorf("received %v behind a bye", msg)
	default:
	}
}

// callsOfOnePeerAreLimited checks that a peer cannot use the number of a call twice, and that calls that wait
// for an answer do not pile up.
func callsOfOnePeerAreLimited(t *testing.T) {
	t.Parallel()
	rt := testRuntime(t, Config{})
	c := rt.Spawn("waits", func(c *Coro) (any, error) { return nil, c.Sleep(time.Hour) })
	watches := func() int {
		c.local.mu.Lock()
		defer c.local.mu.Unlock()
		return len(c.local.watches)
	}
	h := newHostile(t, rt, false)
	l := h.link(rt)
	key := publicKey(c)
	h.send(&wire.Wait{Call: 1, Of: key}, &wire.Ask{Call: 2, To: key}, &wire.Cancel{Call: 2}, &wire.Ask{Call: 2, To: key})
	testkit.Eventually(t, "both wait", func() bool { return watches() == 2 })
	h.send(&wire.Ask{Call: 1, To: key})
	if err := waitEnded(t, l); !strings.Contains(err.Error(), link.ErrCallTwice.Error()) {
		t.Errorf("ended with %v", err)
	}
	testkit.Eventually(t, "nobody waits any more", func() bool { return watches() == 0 })
}

// peerThatAsksAndDoesNotRead checks that the link of such a peer ends when its answers have piled up, and
// that their memory is given back.
func peerThatAsksAndDoesNotRead(t *testing.T) {
	t.Parallel()
	rt := testRuntime(t, Config{MaxMessage: 1 << 20})
	h := newHostile(t, rt, false)
	l := h.link(rt)
	limit := link.MaxQueue + link.MaxAnswers*rt.net.MaxFrame()
	c := rt.Spawn("large", func(c *Coro) (any, error) {
		_, err := c.Receive()
		return strings.Repeat("x", 1<<20-10), err
	})
	const asked = 40
	for i := range asked {
		h.send(&wire.Wait{Call: uint64(i), Of: publicKey(c)})
	}
	testkit.Eventually(t, "all wait", func() bool {
		return l.Load().Served == asked
	})
	most := 0
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for l.Cause() == nil {
			most = max(most, l.Load().Queued)
		}
	}()
	if err := c.Send("end"); err != nil {
		t.Fatal(err)
	}
	if err := waitEnded(t, l); !strings.Contains(err.Error(), "wait for it to read") {
		t.Errorf("ended with %v", err)
	}
	<-watched
	if most > limit {
		t.Errorf("%d bytes were held, of at most %d", most, limit)
	}
	if held := l.Load(); held != (link.Load{}) {
		t.Errorf("%+v is still held", held)
	}
}

// goldenFrame is a frame in wire's golden file.
type goldenFrame struct {
	kind    wire.Kind
	payload []byte
}

// golden returns one frame of every kind with every field set.
func golden(t *testing.T) []goldenFrame {
	t.Helper()
	text, err := os.ReadFile("wire/testdata/frames.txt")
	if err != nil {
		t.Fatal(err)
	}
	var frames []goldenFrame
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		b, err := hex.DecodeString(fields[len(fields)-1])
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, goldenFrame{wire.Kind(b[4]), b[5:]})
	}
	return frames
}

var forgedWait = Register("security.wait", func(c *Coro, _ None) (any, error) { return c.Receive() })

// forgedEnd sends a client the start and the end of a job, from a peer that knows the job's number but not
// the token of its computation. Nothing happens.
func forgedEnd(t *testing.T) {
	t.Parallel()
	ctx := testkit.Context(t)
	sched, err := NewScheduler()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sched.Close() })
	node, err := NewNode(NodeConfig{Config: Config{Peers: []string{sched.Location().String()}}, Servers: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { node.Close() })
	comp, err := NewComputation(sched.Runtime)
	if err == nil {
		err = comp.Schedule(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	co, err := comp.Run(ctx, forgedWait.With(None{}))
	if err != nil {
		t.Fatal(err)
	}
	h := newHostile(t, sched.Runtime, false)
	h.send(
		&wire.Started{Job: co.job.id, Server: wire.Peer{ID: h.id}, Coro: wire.HandleValue{ID: h.id, Key: 1, Seq: 1}},
		&wire.Done{Job: co.job.id},
		&wire.Done{Token: wire.Token(wire.NewID()), Job: co.job.id},
		&wire.Locate{Call: 1, Name: "nobody"},
	)
	if _, _, err := wire.NewReader(h.frames, 1<<20).Next(); err != nil { // by now it has seen them all
		t.Fatal(err)
	}
	h.session.Close()
	if err := co.Send("real"); err != nil {
		t.Fatal(err)
	}
	if v, err := Result[any](ctx, co); v != "real" || err != nil {
		t.Errorf("result %v, %v", v, err)
	}
}
