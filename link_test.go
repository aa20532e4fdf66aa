package discoro

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/discoro/discoro/internal/testkit"
)

// linkNote is a message with all kinds of handles in it.
type linkNote struct {
	Text string
	From *Coro
	All  []*Coro
	By   map[string]any
}

// linkLoop is a message that can contain itself.
type linkLoop struct{ Next *linkLoop }

type linkStranger struct{ N int }

var (
	errLinkBase = errors.New("linktest: base")
	errLinkOwn  = errors.New("linktest: not registered")
)

func init() {
	RegisterType[linkNote]("linktest.note")
	RegisterType[linkLoop]("linktest.loop")
	RegisterError("linktest.base", errLinkBase)
}

func messagesArriveInOrder(t *testing.T) {
	t.Parallel()
	a, b := twoRuntimes(t, Config{})
	const n = 20_000
	sizes := []int{0, 10, 100, 5000}
	got := make(chan []int, 1)
	b.Spawn("ledger", func(c *Coro) (any, error) {
		if err := c.Register("ledger"); err != nil {
			return nil, err
		}
		var seen []int
		for len(seen) < n {
			msg, err := ReceiveAs[[]any](c)
			if err != nil {
				return nil, err
			}
			seen = append(seen, msg[0].(int))
		}
		got <- seen
		return nil, nil
	})
	testkit.Eventually(t, "the ledger is registered", func() bool { return b.named("ledger") != nil })
	to := locate(t, a, b, "ledger")
	for i := range n {
		var err error
		msg := []any{i, strings.Repeat("x", sizes[i%len(sizes)])}
		switch i % 1000 { // in between, the other ways into a mailbox
		case 500:
			err = to.Deliver(testkit.Context(t), msg)
		default:
			err = to.Send(msg)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := testkit.CheckLedger(testkit.Next(t, got), n); err != nil {
		t.Error(err)
	}
}

func TestRemoteVerbs(t *testing.T) {
	t.Parallel()
	for _, cfg := range []Config{{}, {Secret: "sixteen characters and more"}} {
		t.Run("secret="+fmt.Sprint(cfg.Secret != ""), func(t *testing.T) {
			t.Parallel()
			a, b := twoRuntimes(t, cfg)
			got := collect(t, b, "collect")
			ctx := testkit.Context(t)
			c := locate(t, a, b, "collect")
			if c.Name() != "collect" || c.Location() != b.Location() || c.Runtime() != a {
				t.Errorf("located %v of %v", c, c.Runtime())
			}
			if err := c.Send("one"); err != nil {
				t.Fatal(err)
			}
			if err := c.Deliver(ctx, "two"); err != nil {
				t.Fatal(err)
			}
			for _, want := range []any{"one", "two"} {
				if msg := testkit.Next(t, got); msg != want {
					t.Errorf("received %v, want %v", msg, want)
				}
			}
			exits := collect(t, a, "exits")
			watcher, err := a.Locate(ctx, "exits")
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Monitor(ctx, watcher); err != nil {
				t.Fatal(err)
			}
			if err := c.Terminate(); err != nil {
				t.Fatal(err)
			}
			if err := c.Wait(ctx); !errors.Is(err, ErrTerminated) && !errors.Is(err, ErrNotFound) {
				t.Errorf("Wait: %v, want ErrTerminated", err)
			}
			e, ok := testkit.Next(t, exits).(Exit)
			if !ok || e.Coro != c || !errors.Is(e.Err, ErrTerminated) {
				t.Errorf("the watcher got %+v", e)
			}
			if err := c.Deliver(ctx, "late"); !errors.Is(err, ErrNotFound) {
				t.Errorf("Deliver to the dead: %v, want ErrNotFound", err)
			}
			if _, err := a.Locate(ctx, "collect", b.Location()); !errors.Is(err, ErrNotFound) {
				t.Errorf("Locate of the dead: %v, want ErrNotFound", err)
			}
			if _, err := a.Locate(ctx, "nobody"); !errors.Is(err, ErrNotFound) {
				t.Errorf("Locate everywhere: %v, want ErrNotFound", err)
			}
		})
	}
}

func TestAskAndResultRemotely(t *testing.T) {
	t.Parallel()
	a, b := twoRuntimes(t, Config{})
	ctx := testkit.Context(t)
	b.Spawn("server", func(c *Coro) (any, error) {
		if err := c.Register("server"); err != nil {
			return nil, err
		}
		for {
			r, err := ReceiveAs[*Request](c)
			if err != nil {
				return nil, err
			}
			switch msg := r.Msg.(type) {
			case int:
				err = r.Reply(msg * 2)
			case string:
				err = r.Reply(fmt.Errorf("%s: %w", msg, errLinkBase))
			default:
				return "bye", nil // without a reply
			}
			if err != nil {
				return nil, err
			}
		}
	})
	testkit.Eventually(t, "the server is registered", func() bool { return b.named("server") != nil })
	c := locate(t, a, b, "server")
	if n, err := Ask[int](ctx, c, 21); n != 42 || err != nil {
		t.Errorf("Ask: %d, %v", n, err)
	}
	if _, err := Ask[string](ctx, c, 21); !errors.Is(err, ErrType) {
		t.Errorf("Ask for another type: %v, want ErrType", err)
	}
	var remote *RemoteError
	if _, err := Ask[int](ctx, c, "no"); !errors.Is(err, errLinkBase) || !errors.As(err, &remote) ||
		!strings.Contains(err.Error(), "no: linktest: base") {
		t.Errorf("Ask that fails: %v", err)
	}
	result := make(chan error, 1)
	go func() {
		s, err := Result[string](ctx, c)
		if err == nil && s != "bye" {
			err = fmt.Errorf("result %q", s)
		}
		result <- err
	}()
	testkit.Eventually(t, "the wait is served", func() bool {
		l := upLink(t, b, a)
		return l.Load().Served == 1
	})
	if _, err := Ask[int](ctx, c, true); !errors.Is(err, ErrNotFound) {
		t.Errorf("Ask of one that ends: %v, want ErrNotFound", err)
	}
	if err := testkit.Next(t, result); err != nil {
		t.Errorf("Result: %v", err)
	}
}

func TestHandlesArriveLive(t *testing.T) {
	t.Parallel()
	a, b := twoRuntimes(t, Config{})
	ctx := testkit.Context(t)
	atB := collect(t, b, "at b")
	atA := collect(t, a, "at a")
	here, err := a.Locate(ctx, "at a")
	if err != nil {
		t.Fatal(err)
	}
	there := locate(t, a, b, "at b")
	sent := linkNote{Text: "take", From: here, All: []*Coro{here, there}, By: map[string]any{"there": there, "here": here}}
	if err := there.Send(sent); err != nil {
		t.Fatal(err)
	}
	note, ok := testkit.Next(t, atB).(linkNote)
	if !ok {
		t.Fatalf("received %T", note)
	}
	own, err := b.Locate(ctx, "at b")
	if err != nil {
		t.Fatal(err)
	}
	if note.All[1] != own || note.By["there"] != any(own) {
		t.Errorf("a handle that came home is %v, not %v", note.All[1], own)
	}
	if note.From != note.All[0] || note.By["here"] != any(note.From) || note.From == here {
		t.Error("handles of one coroutine are not one handle in a runtime")
	}
	if got := locate(t, b, a, "at a"); got != note.From {
		t.Errorf("a handle that was located is %p, not %p", got, note.From)
	}
	if set := map[*Coro]bool{note.From: true}; !set[note.All[0]] {
		t.Error("handles are no map keys")
	}
	if err := note.From.Send("alive"); err != nil {
		t.Fatal(err)
	}
	if msg := testkit.Next(t, atA); msg != "alive" {
		t.Errorf("received %v through the handle", msg)
	}
}

func TestErrorsCrossLinks(t *testing.T) {
	t.Parallel()
	a, b := twoRuntimes(t, Config{})
	tests := []struct {
		name string
		body func() error
		is   []error
		not  []error
		text string
	}{
		{"a sentinel", func() error { return errLinkBase }, []error{errLinkBase}, []error{ErrClosed}, "linktest: base"},
		{
			"a chain", func() error { return fmt.Errorf("outer: %w", fmt.Errorf("inner: %w", errLinkBase)) },
			[]error{errLinkBase},
			nil, "outer: inner: linktest: base",
		},
		{
			"two at once", func() error { return errors.Join(errLinkBase, io.ErrUnexpectedEOF) },
			[]error{errLinkBase, io.ErrUnexpectedEOF},
			nil, "",
		},
		{
			"not registered", func() error { return errLinkOwn }, nil,
			[]error{errLinkOwn, errLinkBase},
			"linktest: not registered",
		},
		{"canceled", func() error { return context.Canceled }, []error{context.Canceled}, nil, ""},
		{
			"deadline", func() error { return fmt.Errorf("late: %w", context.DeadlineExceeded) },
			[]error{context.DeadlineExceeded},
			nil, "late: ",
		},
		{"our own", func() error { return fmt.Errorf("x: %w", ErrTooLarge) }, []error{ErrTooLarge}, nil, "x: too large"},
		{"a panic", func() error { panic("ouch") }, nil, nil, "ouch"},
		{
			"a panic with an error", func() error { panic(fmt.Errorf("p: %w", errLinkBase)) },
			[]error{errLinkBase},
			nil, "p: linktest",
		},
		{"not UTF-8", func() error { return errors.New("bad \xff text") }, nil, nil, "bad "},
		{"long", func() error { return errors.New(strings.Repeat("long ", 100_000)) }, nil, nil, "long "},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ctx := testkit.Context(t) // from here: a parallel subtest may have waited long for its turn
			name := fmt.Sprintf("fails-%d", i)
			c := b.Spawn(name, func(c *Coro) (any, error) {
				if _, err := c.Receive(); err != nil {
					return nil, err
				}
				return nil, tt.body()
			})
			if err := c.Register(name); err != nil {
				t.Fatal(err)
			}
			there := locate(t, a, b, name)
			ended := make(chan error, 1)
			go func() { ended <- there.Wait(ctx) }()
			exits := collect(t, a, "exits of "+name)
			watcher := a.named("exits of " + name)
			if err := there.Monitor(ctx, watcher); err != nil {
				t.Fatal(err)
			}
			l := upLink(t, b, a)
			testkit.Eventually(t, "both wait", func() bool {
				c.local.mu.Lock()
				defer c.local.mu.Unlock()
				return len(c.local.watches) == 2
			})
			if err := there.Send("go"); err != nil {
				t.Fatal(err)
			}
			e, _ := testkit.Next(t, exits).(Exit)
			for _, err := range []error{testkit.Next(t, ended), e.Err} {
				if err == nil || !strings.Contains(err.Error(), tt.text) {
					t.Errorf("%.200v, want %q in it", err, tt.text)
				}
				for _, target := range tt.is {
					if !errors.Is(err, target) {
						t.Errorf("%v is not %v", err, target)
					}
				}
				for _, target := range tt.not {
					if errors.Is(err, target) {
						t.Errorf("%v is %v", err, target)
					}
				}
				var p *PanicError
				if strings.HasPrefix(tt.name, "a panic") && !errors.As(err, &p) {
					t.Errorf("%T is no PanicError", err)
				}
			}
			if l.Cause() != nil {
				t.Errorf("the link has ended: %v", l.Cause())
			}
		})
	}
}

// encodingErrorsBelongToTheSender checks that every verb returns an error for a value that cannot be
// encoded, and that the link stays up.
func encodingErrorsBelongToTheSender(t *testing.T) {
	t.Parallel()
	a, b := twoRuntimes(t, Config{MaxMessage: 4096})
	got := collect(t, b, "collect")
	c := locate(t, a, b, "collect")
	l := upLink(t, a, b)
	ring := &linkLoop{}
	ring.Next = ring
	tests := []struct {
		name string
		msg  any
		is   error
	}{
		{"not registered", linkStranger{1}, ErrTypeNotRegistered},
		{"not registered, inside", []any{1, linkStranger{1}}, ErrTypeNotRegistered},
		{"a channel", make(chan int), nil},
		{"a function", func() {}, nil},
		{"too large", strings.Repeat("x", 4097), ErrTooLarge},
		{"cyclic", ring, nil},
		{"not UTF-8", "\xff", nil},
	}
	for _, tt := range tests {
		verbs := map[string]func() error{
			"Send":    func() error { return c.Send(tt.msg) },
			"Deliver": func() error { return c.Deliver(testkit.Context(t), tt.msg) },
			"Ask":     func() error { _, err := Ask[any](testkit.Context(t), c, tt.msg); return err },
		}
		for verb, do := range verbs {
			if err := do(); err == nil || tt.is != nil && !errors.Is(err, tt.is) || errors.Is(err, ErrDisconnected) {
				t.Errorf("%s of what is %s: %v, want %v", verb, tt.name, err, tt.is)
			}
		}
	}
	if err := c.Send("after"); err != nil {
		t.Fatal(err)
	}
	if msg := testkit.Next(t, got); msg != "after" {
		t.Errorf("received %v, want what came after", msg)
	}
	if upLink(t, a, b) != l {
		t.Error("the link is another one")
	}
}

// TestSmallMaxMessage checks that errors and names still pass when messages must be tiny.
func TestSmallMaxMessage(t *testing.T) {
	t.Parallel()
	a, b := twoRuntimes(t, Config{MaxMessage: 256})
	c := b.Spawn("fails", func(c *Coro) (any, error) {
		if _, err := c.Receive(); err != nil {
			return nil, err
		}
		return nil, errors.New(strings.Repeat("long ", 100_000))
	})
	if err := c.Register("fails"); err != nil {
		t.Fatal(err)
	}
	there := locate(t, a, b, "fails")
	ended := make(chan error, 1)
	go func() { ended <- there.Wait(testkit.Context(t)) }()
	testkit.Eventually(t, "the wait is served", func() bool {
		c.local.mu.Lock()
		defer c.local.mu.Unlock()
		return len(c.local.watches) > 0
	})
	if err := there.Send("go"); err != nil {
		t.Fatal(err)
	}
	if err := testkit.Next(t, ended); err == nil || errors.Is(err, ErrDisconnected) ||
		!strings.Contains(err.Error(), "long") {
		t.Errorf("%.100v", err)
	}
}

func TestBigMessages(t *testing.T) {
	t.Parallel()
	a, b := twoRuntimes(t, Config{})
	got := collect(t, b, "collect")
	c := locate(t, a, b, "collect")
	for _, n := range []int{0, 64 << 10, 1 << 20, 8 << 20} {
		msg := bytes.Repeat([]byte{byte(n >> 16)}, n)
		if err := c.Send(msg); err != nil {
			t.Fatal(err)
		}
		if back, ok := testkit.Next(t, got).([]byte); !ok || !bytes.Equal(back, msg) {
			t.Errorf("a message of %d bytes came wrong", n)
		}
	}
}
