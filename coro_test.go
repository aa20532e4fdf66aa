package discoro_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/internal/testkit"
	"github.com/discoro/discoro/internal/testkit/live"
)

// inside runs body as a coroutine of a new runtime and waits for it. An error of body fails the
// test.
func inside(t *testing.T, body func(c *discoro.Coro) error) {
	t.Helper()
	c := live.Runtime(t).Spawn("test", func(c *discoro.Coro) (any, error) { return nil, body(c) })
	if err := c.Wait(testkit.Context(t)); err != nil {
		t.Error(err)
	}
}

// watched waits until so many watchers are to be notified of the end of c, which runs in this
// program.
func watched(tb testing.TB, c *discoro.Coro, n int) {
	tb.Helper()
	ctx := testkit.Context(tb)
	for discoro.Watches(c) != n {
		if ctx.Err() != nil {
			tb.Fatalf("%d wait for the end of %v, want %d", discoro.Watches(c), c, n)
		}
		runtime.Gosched()
	}
}

// forgotten waits until c's runtime, in this program, no longer knows c.
func forgotten(tb testing.TB, c *discoro.Coro) {
	tb.Helper()
	for ctx := testkit.Context(tb); discoro.Known(c); runtime.Gosched() {
		if ctx.Err() != nil {
			tb.Fatalf("%v has not ended", c)
		}
	}
}

// badError is an error type as users get it wrong: a nil one is not nil, and its Unwrap panics.
type badError struct{ cause error }

func (e *badError) Error() string { return "bad" }
func (e *badError) Unwrap() error { return e.cause }

// scene is what a test shares with the coroutine that it makes end.
type scene struct {
	running chan struct{} // closed by the coroutine when it has received "go"
	stuck   chan struct{} // closed by the test when it is over
}

// ends are the ways in which a coroutine can end. Each body runs once the coroutine has received
// the message "go".
var ends = []struct {
	name  string
	body  func(c *discoro.Coro, s scene) (any, error)
	drive func(t *testing.T, c *discoro.Coro, s scene) // makes it end; the message "go" when nil
	says  bool                                         // body closes running, where it counts
	gone  bool                                         // it ends before anybody asks
	value int                                          // its result, when there is no error
	is    error                                        // what its error wraps
	check func(err error) bool                         // what else holds for its error
}{
	{
		name:  "returns",
		body:  func(*discoro.Coro, scene) (any, error) { return 7, nil },
		value: 7,
	},
	{
		name: "fails",
		body: func(*discoro.Coro, scene) (any, error) { return 7, fmt.Errorf("oh: %w", errBoom) },
		is:   errBoom,
		check: func(err error) bool {
			return strings.Contains(err.Error(), "oh: boom")
		},
	},
	{
		name:  "panics",
		body:  func(*discoro.Coro, scene) (any, error) { panic("ouch") },
		check: func(err error) bool { return isPanic(err, "ouch") },
	},
	{
		name: "panics with an error",
		body: func(*discoro.Coro, scene) (any, error) { panic(errBoom) },
		is:   errBoom,
		check: func(err error) bool {
			var p *discoro.PanicError
			return errors.As(err, &p) && strings.Contains(p.Stack, "coro_test.go")
		},
	},
	{
		name: "panics in Blocking",
		body: func(c *discoro.Coro, _ scene) (any, error) {
			return nil, c.Blocking(func() error { panic("ouch") })
		},
		check: func(err error) bool { return isPanic(err, "ouch") },
	},
	{
		name: "fails with an error whose methods panic",
		body: func(*discoro.Coro, scene) (any, error) {
			var none *badError
			return nil, none
		},
		check: func(err error) bool { return isPanic(err, "nil pointer") },
	},
	{
		name: "exits its goroutine",
		body: func(*discoro.Coro, scene) (any, error) {
			runtime.Goexit()
			return 7, nil
		},
		check: func(err error) bool { return strings.Contains(err.Error(), "Goexit") },
	},
	{
		name: "exits its goroutine in Blocking",
		body: func(c *discoro.Coro, _ scene) (any, error) {
			return 7, c.Blocking(func() error { runtime.Goexit(); return nil })
		},
		check: func(err error) bool { return strings.Contains(err.Error(), "Goexit") },
	},
	{
		name:  "is terminated",
		body:  func(*discoro.Coro, scene) (any, error) { return 7, nil },
		drive: func(t *testing.T, c *discoro.Coro, _ scene) { t.Helper(); live.Terminate(t, c) },
		is:    discoro.ErrTerminated,
	},
	{
		name: "is terminated and returns all the same",
		body: func(c *discoro.Coro, _ scene) (any, error) {
			if _, err := c.Receive(); !errors.Is(err, discoro.ErrTerminated) {
				return nil, fmt.Errorf("Receive: %w", err)
			}
			return 8, nil
		},
		drive: goAndTerminate,
		value: 8,
	},
	{
		name: "is abandoned",
		body: func(_ *discoro.Coro, s scene) (any, error) { // neither yields nor returns
			<-s.stuck
			return 7, nil
		},
		drive: goAndTerminate,
		is:    discoro.ErrTerminated,
		check: func(err error) bool { return strings.Contains(err.Error(), "abandoned") },
	},
	{
		name: "is abandoned in Blocking",
		body: func(c *discoro.Coro, s scene) (any, error) {
			return 7, c.Blocking(func() error { close(s.running); <-s.stuck; return nil })
		},
		says:  true,
		drive: goAndTerminate,
		is:    discoro.ErrTerminated,
		check: func(err error) bool { return strings.Contains(err.Error(), "abandoned") },
	},
	{
		name:  "is gone already",
		body:  func(*discoro.Coro, scene) (any, error) { return 7, nil },
		gone:  true,
		value: 7,
	},
	{
		name: "had failed",
		body: func(*discoro.Coro, scene) (any, error) { return nil, errBoom },
		gone: true,
		is:   errBoom,
	},
}

func goAndTerminate(t *testing.T, c *discoro.Coro, s scene) {
	t.Helper()
	live.Send(t, c, "go")
	testkit.Next(t, s.running)
	live.Terminate(t, c)
}

func isPanic(err error, text string) bool {
	var p *discoro.PanicError
	return errors.As(err, &p) && strings.Contains(fmt.Sprint(p.Value), text) && p.Stack != ""
}

// TestEveryEnd ends coroutines in every way, and checks that Wait, Result and Monitor agree on the
// end, in the same runtime and in another one.
func TestEveryEnd(t *testing.T) {
	t.Parallel()
	for _, remote := range []bool{false, true} {
		for _, end := range ends {
			t.Run(fmt.Sprintf("%s/remote=%v", end.name, remote), func(t *testing.T) {
				t.Parallel()
				home := live.Runtime(t)
				here := home
				if remote {
					here = live.Runtime(t)
				}
				if strings.Contains(end.name, "abandoned") {
					discoro.SetGrace(home, 20*time.Millisecond)
				}
				s := scene{make(chan struct{}), make(chan struct{})}
				defer close(s.stuck)
				local := home.Spawn("ends", func(c *discoro.Coro) (any, error) {
					if _, err := c.Receive(); err != nil {
						return nil, err
					}
					if !end.says {
						close(s.running)
					}
					return end.body(c, s)
				})
				seen := live.HandleAt(t, here, local)
				if end.gone {
					live.Send(t, local, "go")
					_ = local.Wait(testkit.Context(t))
					forgotten(t, local)
				}
				value, is, check := end.value, end.is, end.check
				drive := func() {
					if !end.gone {
						watched(t, local, 2)
					}
					switch {
					case end.gone:
					case end.drive != nil:
						end.drive(t, seen, s)
					default:
						live.Send(t, seen, "go")
					}
				}
				checkEnd(t, here, seen, local, drive, func(how string, v int, err error) {
					t.Helper()
					failed := is != nil || check != nil
					if (err != nil) != failed || v != value || is != nil && !errors.Is(err, is) || check != nil && !check(err) {
						t.Errorf("%s: %v, %v", how, v, err)
					}
				})
			})
		}
	}
	t.Run("never was", func(t *testing.T) {
		t.Parallel()
		home, other := live.Runtime(t), live.Runtime(t)
		if _, err := other.Connect(testkit.Context(t), home.Location().String()); err != nil {
			t.Fatal(err)
		}
		for _, here := range []*discoro.Runtime{home, other} {
			checkEnd(t, here, discoro.Nobody(here, home), nil, func() {}, func(how string, _ int, err error) {
				if !errors.Is(err, discoro.ErrNotFound) {
					t.Errorf("%s: %v", how, err)
				}
			})
		}
	})
}

// checkEnd calls check with the end of c, as Wait, Result and Monitor see it, from before drive
// makes it end and from after. c is here's handle of local.
func checkEnd(t *testing.T, here *discoro.Runtime, c, local *discoro.Coro, drive func(), check func(how string, v int, err error)) {
	t.Helper()
	ctx := testkit.Context(t)
	watcher := live.Collector(here)
	monitor := func() {
		t.Helper()
		if err := c.Monitor(ctx, watcher); err != nil {
			t.Errorf("Monitor: %v", err)
		}
	}
	type result struct {
		v   int
		err error
	}
	early := make(chan result, 1)
	asker := here.Spawn("asker", func(own *discoro.Coro) (any, error) {
		v, err := discoro.Result[int](own, c)
		early <- result{v, err}
		return nil, nil
	})
	monitor()
	drive()
	r := testkit.Next(t, early)
	check("an early Result, inside a coroutine", r.v, r.err)
	if err := asker.Wait(ctx); err != nil {
		t.Error(err)
	}
	if local != nil {
		forgotten(t, local)
	}
	v, err := discoro.Result[int](ctx, c)
	check("Result", v, err)
	err = c.Wait(ctx)
	check("Wait", v, err)
	monitor()
	_ = c.Wait(ctx) // it also brings everything before it
	live.Send(t, watcher, "enough")
	exits, err := discoro.Result[[]any](ctx, watcher)
	if err != nil {
		t.Fatal(err)
	}
	const want = 2
	if len(exits) != want {
		t.Fatalf("%d exits for %d calls of Monitor: %v", len(exits), want, exits)
	}
	for _, e := range exits {
		exit, ok := e.(discoro.Exit)
		if !ok || exit.Coro != c {
			t.Fatalf("%#v", e)
		}
		v, err := discoro.ExitResult[int](exit)
		check("Monitor", v, err)
		if (exit.Err != nil) != (err != nil) || !errors.Is(err, exit.Err) {
			t.Errorf("Exit.Err is %v, ExitResult says %v", exit.Err, err)
		}
	}
}

// TestResultTypes asks Result and ExitResult for the right types and for wrong ones.
func TestResultTypes(t *testing.T) {
	home, other := live.Runtime(t), live.Runtime(t)
	for _, here := range []*discoro.Runtime{home, other} {
		var c *discoro.Coro // the one that here's handle is of
		spawn := func(v any) *discoro.Coro {
			c = home.Spawn("typed", func(c *discoro.Coro) (any, error) {
				_, err := c.Receive()
				return v, err
			})
			h := live.HandleAt(t, here, c)
			if err := c.Unregister("it"); err != nil && here != home {
				t.Error(err)
			}
			return h
		}
		result := func(name string, h *discoro.Coro, get func(ctx context.Context, c *discoro.Coro) error, want error) {
			t.Helper()
			done := make(chan error, 1)
			waiting := here.Spawn("waits", func(own *discoro.Coro) (any, error) {
				done <- get(own, h)
				return nil, nil
			})
			watched(t, c, 1)
			live.Send(t, c, "go")
			if err := testkit.Next(t, done); !errors.Is(err, want) || err != nil && want == nil {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
			_ = waiting.Wait(testkit.Context(t))
		}
		result("a string as an int", spawn("text"), asType[int], discoro.ErrType)
		result("an int as an int", spawn(3), asType[int], nil)
		result("an int as any", spawn(3), asType[any], nil)
		result("nil as a pointer", spawn(nil), asType[*int], nil)
		result("nil as any", spawn(nil), asType[any], nil)
		result("nil as None", spawn(nil), asType[discoro.None], nil)
		result("nil as an int", spawn(nil), asType[int], discoro.ErrType)
	}
}

func asType[R any](ctx context.Context, c *discoro.Coro) error {
	_, err := discoro.Result[R](ctx, c)
	return err
}

// TestMisuse calls from outside what belongs inside a coroutine: it panics, and the panic says why.
func TestMisuse(t *testing.T) {
	var v discoro.Var[int]
	calls := map[string]func(c *discoro.Coro){
		"Receive":        func(c *discoro.Coro) { _, _ = c.Receive() },
		"ReceiveTimeout": func(c *discoro.Coro) { _, _ = c.ReceiveTimeout(0) },
		"ReceiveAs":      func(c *discoro.Coro) { _, _ = discoro.ReceiveAs[int](c) },
		"Sleep":          func(c *discoro.Coro) { _ = c.Sleep(0) },
		"Yield":          func(c *discoro.Coro) { _ = c.Yield() },
		"Blocking":       func(c *discoro.Coro) { _ = c.Blocking(func() error { return nil }) },
		"Spawn":          func(c *discoro.Coro) { c.Spawn("x", nil) },
		"Dir":            func(c *discoro.Coro) { c.Dir() },
		"Var.Set":        func(c *discoro.Coro) { v.Set(c, 1) },
		"Var.Get":        func(c *discoro.Coro) { v.Get(c) },
	}
	rt, other := live.Runtime(t), live.Runtime(t)
	waits := rt.Spawn("waits", func(c *discoro.Coro) (any, error) { return c.Receive() })
	ended := rt.Spawn("ended", func(*discoro.Coro) (any, error) { return nil, nil })
	if err := ended.Wait(testkit.Context(t)); err != nil {
		t.Fatal(err)
	}
	far := live.HandleAt(t, other, waits)
	for name, call := range calls {
		panics := func(how string, c *discoro.Coro, says string) {
			defer func() {
				text := fmt.Sprint(recover())
				for _, part := range []string{name, says, c.String()} {
					if !strings.Contains(text, part) {
						t.Errorf("%s of %s: %q does not say %q", name, how, text, part)
					}
				}
			}()
			call(c)
		}
		panics("a waiting coroutine", waits, "from outside")
		panics("a coroutine that has ended", ended, "from outside")
		panics("a coroutine elsewhere", far, "another runtime")
		c := rt.Spawn("itself", func(c *discoro.Coro) (any, error) {
			panics("another coroutine", waits, "from outside")
			helped := make(chan struct{})
			go func() {
				defer close(helped)
				panics("the helper's coroutine", c, "from outside")
			}()
			<-helped
			return nil, c.Blocking(func() error {
				if name != "Dir" { // files are read and written there
					panics("itself in Blocking", c, "inside Blocking")
				} else if dir := c.Dir(); dir != rt.DestPath() {
					t.Errorf("Dir in Blocking: %q", dir)
				}
				return nil
			})
		})
		if err := c.Wait(testkit.Context(t)); err != nil {
			t.Error(err)
		}
	}
}

// TestOrder sends from several coroutines at once, in this runtime and from another one. The
// messages of each sender arrive in the order sent.
func TestOrder(t *testing.T) {
	const senders, each = 5, 500
	home, other := live.Runtime(t), live.Runtime(t)
	sink := live.Collector(home)
	for _, rt := range []*discoro.Runtime{home, other} {
		to := live.HandleAt(t, rt, sink)
		var from []*discoro.Coro
		for s := range senders {
			from = append(from, rt.Spawn("sender", func(c *discoro.Coro) (any, error) {
				for i := range each {
					if err := to.Send([]int{s, i}); err != nil {
						return nil, err
					}
					if i%7 == s {
						if err := c.Yield(); err != nil {
							return nil, err
						}
					}
				}
				return nil, to.Deliver(c, []int{s, each})
			}))
		}
		for _, c := range from {
			if err := c.Wait(testkit.Context(t)); err != nil {
				t.Error(err)
			}
		}
	}
	live.Send(t, sink, "enough")
	got, err := discoro.Result[[]any](testkit.Context(t), sink)
	if err != nil || len(got) != 2*senders*(each+1) {
		t.Fatalf("%d messages, %v", len(got), err)
	}
	var next [senders]int
	for _, m := range got {
		m := m.([]int)
		if m[1] != next[m[0]] {
			t.Fatalf("message %d of sender %d came where %d was due", m[1], m[0], next[m[0]])
		}
		next[m[0]] = (m[1] + 1) % (each + 1)
	}
}

// TestReceive covers what a coroutine receives, and when it receives nothing.
func TestReceive(t *testing.T) {
	inside(t, func(c *discoro.Coro) error {
		for _, msg := range []any{1, "two", nil} {
			live.Send(t, c, msg)
		}
		if n, err := discoro.ReceiveAs[int](c); n != 1 || err != nil {
			t.Errorf("ReceiveAs: %v, %v", n, err)
		}
		for range 2 { // it stays where it is
			if _, err := discoro.ReceiveAs[int](c); !errors.Is(err, discoro.ErrType) || !strings.Contains(err.Error(), "string") {
				t.Errorf("ReceiveAs of a string as an int: %v", err)
			}
		}
		if s, err := discoro.ReceiveAs[string](c); s != "two" || err != nil {
			t.Errorf("ReceiveAs: %v, %v", s, err)
		}
		if msg, err := c.ReceiveTimeout(time.Hour); msg != nil || err != nil {
			t.Errorf("a nil message: %v, %v", msg, err)
		}
		for _, d := range []time.Duration{-1, 0, time.Millisecond} {
			if msg, err := c.ReceiveTimeout(d); !errors.Is(err, discoro.ErrTimeout) {
				t.Errorf("nothing within %v: %v, %v", d, msg, err)
			}
		}
		return nil
	})
}

// TestReceiveAsKeepsMessageFromElsewhere does what TestReceive does with a message that came
// encoded.
func TestReceiveAsKeepsMessageFromElsewhere(t *testing.T) {
	home, other := live.Runtime(t), live.Runtime(t)
	c := home.Spawn("receiver", func(c *discoro.Coro) (any, error) {
		if _, err := discoro.ReceiveAs[int](c); !errors.Is(err, discoro.ErrType) {
			return nil, fmt.Errorf("a string as an int: %w", err)
		}
		return discoro.ReceiveAs[string](c)
	})
	h := live.HandleAt(t, other, c)
	if err := h.Deliver(testkit.Context(t), "text"); err != nil {
		t.Fatal(err)
	}
	if s, err := discoro.Result[string](testkit.Context(t), c); s != "text" || err != nil {
		t.Errorf("%q, %v", s, err)
	}
}

// TestLateTimerWakesNothing lets the timer of a ReceiveTimeout, and that of a wait with a deadline,
// fire while the coroutine is in its next wait. That wait must go on until what it waits for is
// there.
func TestLateTimerWakesNothing(t *testing.T) {
	inside(t, func(c *discoro.Coro) error {
		for i := range 200 {
			d := time.Duration(i) * 5 * time.Microsecond
			peer := c.Spawn("peer", func(p *discoro.Coro) (any, error) {
				err := p.Sleep(d)
				return nil, errors.Join(err, c.Send("first"))
			})
			if _, err := c.ReceiveTimeout(d); err != nil && !errors.Is(err, discoro.ErrTimeout) {
				return err
			} else if err != nil {
				if _, err := c.Receive(); err != nil {
					return err
				}
			}
			ctx, cancel := context.WithTimeout(c, d)
			defer cancel()
			if err := peer.Wait(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				return err
			}
			start := time.Now()
			if err := c.Sleep(time.Millisecond); err != nil {
				return err
			}
			if slept := time.Since(start); slept < time.Millisecond {
				return fmt.Errorf("a wait was cut short: slept %v", slept)
			}
		}
		return nil
	})
}

// TestSendToEnded sends to a coroutine of the same runtime that has ended.
func TestSendToEnded(t *testing.T) {
	rt := live.Runtime(t)
	c := rt.Spawn("ended", func(*discoro.Coro) (any, error) { return nil, nil })
	if err := c.Wait(testkit.Context(t)); err != nil {
		t.Fatal(err)
	}
	if err := c.Send(1); !errors.Is(err, discoro.ErrNotFound) {
		t.Errorf("Send: %v", err)
	}
	if err := c.Deliver(testkit.Context(t), 1); !errors.Is(err, discoro.ErrNotFound) {
		t.Errorf("Deliver: %v", err)
	}
	if err := c.Terminate(); err != nil {
		t.Errorf("Terminate: %v", err)
	}
	if err := c.Wait(testkit.Context(t)); err != nil {
		t.Errorf("Wait after Terminate: %v", err)
	}
	far := handleAtEnded(t, rt)
	if err := far.Deliver(testkit.Context(t), 1); !errors.Is(err, discoro.ErrNotFound) {
		t.Errorf("Deliver from elsewhere: %v", err)
	}
}

// handleAtEnded returns a new runtime's handle of a coroutine of rt that has ended.
func handleAtEnded(t *testing.T, rt *discoro.Runtime) *discoro.Coro {
	t.Helper()
	c := rt.Spawn("ended", func(c *discoro.Coro) (any, error) { return c.Receive() })
	h := live.HandleAt(t, live.Runtime(t), c)
	live.Send(t, c, nil)
	forgotten(t, c)
	return h
}

// TestLostIsNamed checks that the error of a broken link names the coroutine behind it. A caller
// that waits for many sees nothing else.
func TestLostIsNamed(t *testing.T) {
	rt := live.Runtime(t)
	c := rt.Spawn("lost", func(c *discoro.Coro) (any, error) { return c.Receive() })
	h := live.HandleAt(t, live.Runtime(t), c)
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	_, result := discoro.Result[int](testkit.Context(t), h)
	_, ask := discoro.Ask[int](testkit.Context(t), h, 1)
	for verb, err := range map[string]error{"Wait": h.Wait(testkit.Context(t)), "Result": result, "Ask": ask, "Deliver": h.Deliver(testkit.Context(t), 1)} {
		if !errors.Is(err, discoro.ErrDisconnected) || !strings.HasPrefix(err.Error(), "discoro: ") || !strings.Contains(err.Error(), h.String()) {
			t.Errorf("%s: %v", verb, err)
		}
	}
}

// TestWaitForItself has a coroutine wait for itself, which fails instead of waiting for ever.
func TestWaitForItself(t *testing.T) {
	inside(t, func(c *discoro.Coro) error {
		if err := c.Wait(c); !errors.Is(err, discoro.ErrRejected) {
			t.Errorf("Wait: %v", err)
		}
		if _, err := discoro.Result[int](context.Background(), c); !errors.Is(err, discoro.ErrRejected) {
			t.Errorf("Result: %v", err)
		}
		if _, err := discoro.Ask[int](c, c, "well?"); !errors.Is(err, discoro.ErrRejected) {
			t.Errorf("Ask: %v", err)
		}
		return c.Blocking(func() error {
			if err := c.Wait(c); !errors.Is(err, discoro.ErrRejected) {
				t.Errorf("Wait in Blocking: %v", err)
			}
			return nil
		})
	})
}

// TestNames covers what registered names find, and when they are free again.
func TestNames(t *testing.T) {
	home, other := live.Runtime(t), live.Runtime(t)
	ctx := testkit.Context(t)
	spawn := func() *discoro.Coro {
		return home.Spawn("named", func(c *discoro.Coro) (any, error) { return c.Receive() })
	}
	a, b := spawn(), spawn()
	check := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) || err != nil && want == nil {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	check("register", a.Register("one"), nil)
	check("register again", a.Register("one"), nil)
	check("a second name", a.Register("uno"), nil)
	check("a name that is taken", b.Register("one"), discoro.ErrExists)
	check("an empty name", b.Register(""), discoro.ErrRejected)
	check("unregister another's", b.Unregister("one"), discoro.ErrNotFound)
	far := live.HandleAt(t, other, b)
	check("register from elsewhere", far.Register("far"), discoro.ErrNotFound)
	check("unregister from elsewhere", far.Unregister("it"), discoro.ErrNotFound)

	located := func(rt *discoro.Runtime, name string, want error) *discoro.Coro {
		t.Helper()
		c, err := rt.Locate(ctx, name)
		check("locate "+name, err, want)
		return c
	}
	if c := located(home, "one", nil); c != a {
		t.Errorf("located %v, want %v", c, a)
	}
	if c := located(other, "uno", nil); c == nil || c.String() != a.String() || c != located(other, "one", nil) {
		t.Errorf("located %v from elsewhere, want one handle of %v", c, a)
	}
	check("unregister", a.Unregister("one"), nil)
	located(home, "one", discoro.ErrNotFound)
	check("a name that is free again", b.Register("one"), nil)
	if c := located(home, "one", nil); c != b {
		t.Errorf("located %v, want %v", c, b)
	}
	live.Send(t, b, nil)
	live.Send(t, a, nil)
	check("the end", errors.Join(a.Wait(ctx), b.Wait(ctx)), nil)
	for _, name := range []string{"one", "uno", "it"} {
		located(home, name, discoro.ErrNotFound)
		located(other, name, discoro.ErrNotFound)
	}
	check("register one that has ended", a.Register("late"), discoro.ErrNotFound)
	located(home, "late", discoro.ErrNotFound)
}

// TestNameIsFreeAtTheEnd looks for a name as soon as the end of the coroutine that had it can be
// known.
func TestNameIsFreeAtTheEnd(t *testing.T) {
	rt := live.Runtime(t)
	for range 2000 {
		c := rt.Spawn("named", func(c *discoro.Coro) (any, error) { return nil, c.Register("x") })
		for !isDone(c) { // without a yield point in between
			runtime.Gosched()
		}
		if c, err := rt.Locate(t.Context(), "x"); err == nil {
			t.Fatalf("%v has ended and is still registered", c)
		}
	}
}

func isDone(c *discoro.Coro) bool { return c.Err() != nil }

// TestCloseTellsTheEnd closes a runtime while others wait for its coroutines. They learn how those
// ended, and not only that the link broke.
func TestCloseTellsTheEnd(t *testing.T) {
	const n = 2
	for range 50 {
		home, here := live.Runtime(t), live.Runtime(t)
		watcher := here.Spawn("watcher", func(c *discoro.Coro) (any, error) {
			for range n {
				e, err := discoro.ReceiveAs[discoro.Exit](c)
				if err != nil || !errors.Is(e.Err, discoro.ErrTerminated) {
					return nil, fmt.Errorf("%w, %w", err, e.Err)
				}
			}
			return nil, nil
		})
		for range n {
			c := home.Spawn("ends", func(c *discoro.Coro) (any, error) { return c.Receive() })
			if err := live.HandleAt(t, here, c).Monitor(testkit.Context(t), watcher); err != nil {
				t.Fatal(err)
			}
			if err := c.Unregister("it"); err != nil {
				t.Fatal(err)
			}
			watched(t, c, 1)
		}
		if err := home.Close(); err != nil {
			t.Fatal(err)
		}
		if err := watcher.Wait(testkit.Context(t)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestVar keeps the values of two runtimes, and of two Vars, apart.
func TestVar(t *testing.T) {
	var n, m discoro.Var[int]
	var e discoro.Var[error]
	do := func(rt *discoro.Runtime, f func(c *discoro.Coro)) {
		c := rt.Spawn("var", func(c *discoro.Coro) (any, error) { f(c); return nil, nil })
		if err := c.Wait(testkit.Context(t)); err != nil {
			t.Error(err)
		}
	}
	get := func(c *discoro.Coro, v *discoro.Var[int], want int, set bool) {
		t.Helper()
		if got, ok := v.Get(c); got != want || ok != set {
			t.Errorf("%d, %v; want %d, %v", got, ok, want, set)
		}
	}
	a, b := live.Runtime(t), live.Runtime(t)
	do(a, func(c *discoro.Coro) {
		get(c, &n, 0, false)
		n.Set(c, 1)
		e.Set(c, nil)
		get(c, &n, 1, true)
		get(c, &m, 0, false)
		if err, ok := e.Get(c); err != nil || !ok {
			t.Errorf("a nil interface: %v, %v", err, ok)
		}
	})
	do(b, func(c *discoro.Coro) { get(c, &n, 0, false); n.Set(c, 2) })
	do(a, func(c *discoro.Coro) { get(c, &n, 1, true) })
}

// TestSpawnOnClosed spawns at a closed runtime, which returns a coroutine that has ended.
func TestSpawnOnClosed(t *testing.T) {
	rt := live.Runtime(t)
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	c := rt.Spawn("late", func(*discoro.Coro) (any, error) {
		t.Error("it ran")
		return nil, nil
	})
	if err := c.Wait(testkit.Context(t)); !errors.Is(err, discoro.ErrClosed) {
		t.Errorf("Wait: %v", err)
	}
	select {
	case <-c.Done():
	default:
		t.Error("its context is not done")
	}
	if err := c.Send(1); !errors.Is(err, discoro.ErrNotFound) {
		t.Errorf("Send: %v", err)
	}
}

// TestHandleText checks what a user reads of a handle in a log.
func TestHandleText(t *testing.T) {
	rt := live.Runtime(t)
	c := rt.Spawn("worker", func(c *discoro.Coro) (any, error) {
		child := c.Spawn("child", func(*discoro.Coro) (any, error) { return nil, nil })
		if child.Runtime() != rt || c.Dir() != rt.DestPath() {
			t.Errorf("child of %v in %s", child.Runtime(), c.Dir())
		}
		return nil, child.Wait(c)
	})
	if err := c.Wait(testkit.Context(t)); err != nil {
		t.Error(err)
	}
	if !strings.HasPrefix(c.String(), "worker/") || !strings.HasSuffix(c.String(), "@"+rt.Location().String()) || c.Name() != "worker" {
		t.Errorf("%q", c)
	}
	if !slices.Contains(strings.Split(c.String(), "@"), c.Location().String()) {
		t.Errorf("%v is not in %q", c.Location(), c)
	}
}
