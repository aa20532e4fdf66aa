package discoro

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/discoro/discoro/internal/files"
	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/internal/stopwatch"
	"github.com/discoro/discoro/internal/testkit"
	"github.com/discoro/discoro/internal/transport"
	"github.com/discoro/discoro/wire"
)

// yamuxFrame is a header of yamux, made by hand.
func yamuxFrame(kind byte, flags uint16, stream, length uint32) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0, kind}, flags)
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, stream), length)
}

// What yamux's headers have: types, a flag, their size.
const (
	yamuxData   = 0
	yamuxUpdate = 1
	yamuxPing   = 2
	yamuxOpen   = 1
	yamuxHeader = 12
)

// manyStreams opens n streams beside the first.
func manyStreams(kind byte, n int) []byte {
	var b []byte
	for i := range n {
		b = append(b, yamuxFrame(kind, yamuxOpen, uint32(2*i+3), 0)...)
	}
	return b
}

// yamuxIsNoWayAround shows what a proven peer can do below our frames: floods of pings and of streams cost nothing.
func yamuxIsNoWayAround(t *testing.T) {
	t.Parallel()
	frames := yamuxFrame(yamuxUpdate, yamuxOpen, 1, 0)
	tests := []struct {
		name string
		send []byte
		want string
	}{
		{"pings", bytes.Repeat(yamuxFrame(yamuxPing, 1, 0, 1), 50_000), "sent a ping of yamux"},
		{"answers to pings", bytes.Repeat(yamuxFrame(yamuxPing, 2, 0, 1), 50_000), "sent a ping of yamux"},
		{"streams", manyStreams(yamuxUpdate, 1000), "files on their way at once"},
		{"streams with data", manyStreams(yamuxData, 1000), "files on their way at once"},
		{"one stream too many", manyStreams(yamuxUpdate, transport.MaxStreams+1), "files on their way at once"},
		{"the same stream", yamuxFrame(yamuxUpdate, yamuxOpen, 1, 0), ""},
		{"a stream of this side", yamuxFrame(yamuxUpdate, yamuxOpen, 2, 0), "a number of this side's"},
		{"a stream twice", append(yamuxFrame(yamuxUpdate, yamuxOpen, 3, 0), yamuxFrame(yamuxUpdate, yamuxOpen, 3, 0)...), "opened a stream of yamux twice"},
		{"a stream again, which was reset", slices.Concat(yamuxFrame(yamuxUpdate, yamuxOpen, 3, 0), yamuxFrame(yamuxUpdate, 8, 3, 0), yamuxFrame(yamuxUpdate, yamuxOpen, 3, 0)), "opened a stream of yamux twice"},
		{"another version", []byte("\x07 not yamux at all"), ""},
		{"no such type", yamuxFrame(9, 0, 1, 0), ""},
		{"more than the window", append(yamuxFrame(yamuxData, 0, 1, 1<<31), make([]byte, 1<<16)...), ""},
		{"the end of the stream", yamuxFrame(yamuxUpdate, 4, 1, 0), ""},
		{"a reset of the stream", yamuxFrame(yamuxUpdate, 8, 1, 0), ""},
	}
	rt := testRuntime(t, Config{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := newHostile(t, rt, true)
			if _, err := h.conn.Write(frames); err != nil {
				t.Fatal(err)
			}
			l := h.link(rt)
			before := runtime.NumGoroutine() // others' come and go, but not by the thousand
			sent := make(chan struct{})
			go func() {
				_, _ = h.conn.Write(tt.send)
				close(sent)
			}()
			if err := waitEnded(t, l); !strings.Contains(err.Error(), tt.want) {
				t.Errorf("ended with %v, want %q", err, tt.want)
			}
			testkit.Next(t, sent)
			if more := runtime.NumGoroutine() - before; more > 1000 {
				t.Errorf("%d goroutines more", more)
			}
		})
	}
}

// dataForNoStream is read and dropped: it costs time alone.
func dataForNoStream(t *testing.T) {
	t.Parallel()
	rt := testRuntime(t, Config{})
	h := newHostile(t, rt, true)
	if _, err := h.conn.Write(yamuxFrame(1, 1, 1, 0)); err != nil {
		t.Fatal(err)
	}
	l := h.link(rt)
	send := append(yamuxFrame(yamuxData, 0, 99, 1000), bytes.Repeat(yamuxFrame(yamuxPing, 1, 0, 1), 1000/yamuxHeader+1)[:1000]...) // a body that looks like pings
	bye, err := wire.AppendFrame(nil, &wire.Bye{Reason: "heard"})
	if err != nil {
		t.Fatal(err)
	}
	send = append(append(send, yamuxFrame(yamuxData, 0, 1, uint32(len(bye)))...), bye...)
	go func() {
		for i := range send { // byte by byte, so that headers come in pieces
			if _, err := h.conn.Write(send[i : i+1]); err != nil {
				return
			}
		}
	}()
	if err := waitEnded(t, l); !strings.Contains(err.Error(), "heard") {
		t.Errorf("ended with %v", err)
	}
}

// peerThatOpensNothing proves itself and then never opens the stream of frames.
func peerThatOpensNothing(t *testing.T) {
	t.Parallel()
	rt := testRuntime(t, Config{})
	h := newHostile(t, rt, true)
	testkit.Eventually(t, "it is being greeted", func() bool { return rt.net.If(h.id) != nil })
	l := rt.net.If(h.id)
	watch := stopwatch.Start(t)
	if err := waitEnded(t, l); !errors.Is(err, ErrDisconnected) {
		t.Errorf("ended with %v", err)
	}
	watch.Within("waiting for it", 10*time.Second)
	h = newHostile(t, rt, true)
	testkit.Eventually(t, "another is being greeted", func() bool { return rt.net.If(h.id) != nil })
	// The runtime's Close, at the end, does not wait for it.
	watch = stopwatch.Start(t)
	if err := rt.Close(); err != nil {
		t.Error(err)
	}
	watch.Within("Close", 5*time.Second/2)
}

// TestFilesBothWays sends files either way at once, and takes some of that back half way: what is sent comes, and of the rest nothing is
// left, no stream and no file, however often.
func TestFilesBothWays(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{"", "sixteen characters and more"} {
		a, b := twoRuntimes(t, Config{Addr: "127.0.0.1", Secret: secret})
		links := []*link.Link{upLink(t, a, b), upLink(t, b, a)}
		path, content := someFile(t, "file", 2<<20+17)
		var all sync.WaitGroup
		for i := range 2 * transport.MaxStreams {
			from, to := a, b
			if i%2 == 0 {
				from, to = b, a
			}
			all.Go(func() {
				ctx, cancel := context.WithCancel(testkit.Context(t))
				defer cancel()
				dir := "dir" + strconv.Itoa(i)
				opt := FileOptions{Dir: dir}
				if i%3 > 0 {
					opt.Progress = func(sent, _ int64) {
						if sent > int64(i%4)<<19 {
							cancel()
						}
					}
				}
				err := from.SendFile(ctx, to.Location(), path, opt)
				switch {
				case err == nil:
					wantContent(t, filepath.Join(to.DestPath(), dir, "file"), content)
				case !errors.Is(err, context.Canceled) || opt.Progress == nil:
					t.Error(err)
				}
			})
		}
		all.Wait()
		for i, l := range links {
			testkit.Eventually(t, "nothing is left of the streams", func() bool { return l.Load().Streams == 0 })
			if err := l.Cause(); err != nil {
				t.Error(err)
			}
			rt := []*Runtime{a, b}[i]
			for _, name := range filesBelow(t, rt.DestPath()) {
				if strings.Contains(name, files.OwnPrefix) {
					t.Errorf("%s is left", name)
				}
			}
		}
	}
}
