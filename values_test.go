package discoro

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/wire"
)

var (
	errKnown = errors.New("known to both sides")
	errOther = errors.New("known here only")
)

func init() { RegisterError("values.known", errKnown) }

// overTheWire returns what err arrives as.
func overTheWire(err error) error { return values.Error(values.ErrorValue(err)) }

// TestErrorNames compares the names of errors with PROTOCOL.md, and has each error arrive as
// itself.
func TestErrorNames(t *testing.T) {
	text, err := os.ReadFile("PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "Names in use:\n")
	list, _, _ := strings.Cut(rest, "and those given")
	table := newSentinels()
	var told []string
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(list, -1) {
		told = append(told, m[1])
	}
	slices.Sort(told)
	if diff := cmp.Diff(told, slices.Sorted(maps.Keys(table.byName))); diff != "" {
		t.Errorf("PROTOCOL.md and the names (-told +there):\n%s", diff)
	}
	for name, err := range table.byName {
		if got := overTheWire(err); got != err { //nolint:errorlint // identity is the point
			t.Errorf("%s arrives as %#v", name, got)
		}
	}
	for _, err := range []error{
		ErrTerminated, ErrTimeout, ErrClosed, ErrNotFound, ErrNotRegistered, ErrTypeNotRegistered, ErrType, ErrNoServer, ErrDisconnected,
		ErrUnauthorized, ErrTooLarge, ErrExists, ErrRejected,
	} {
		if table.names[err] == "" {
			t.Errorf("%v has no name", err)
		}
	}
}

func TestErrorsTravel(t *testing.T) {
	loc := Location{Addr: "10.0.0.7", Port: 51347}
	_, missing := os.Open("/does/not/exist")
	for name, tc := range map[string]struct {
		err  error
		is   []error
		not  []error
		text string
	}{
		"a sentinel":            {errKnown, []error{errKnown}, []error{errOther}, "known to both sides"},
		"wrapped":               {fmt.Errorf("while: %w", errKnown), []error{errKnown}, nil, "while: known to both sides"},
		"joined":                {errors.Join(errOther, fmt.Errorf("x: %w", errKnown), ErrClosed), []error{errKnown, ErrClosed}, nil, "closed"},
		"unknown":               {errOther, nil, []error{errKnown}, "known here only"},
		"canceled":              {context.Canceled, []error{context.Canceled}, nil, "context canceled"},
		"deadline":              {fmt.Errorf("run: %w", context.DeadlineExceeded), []error{context.DeadlineExceeded}, nil, "run: "},
		"terminated":            {ErrTerminated, []error{ErrTerminated, context.Canceled}, nil, "terminated"},
		"a missing file":        {missing, []error{fs.ErrNotExist}, nil, "/does/not/exist"},
		"remote, passed on":     {fmt.Errorf("via: %w", &RemoteError{Func: "f", Location: loc, Msg: "m", chain: []error{errKnown}}), []error{errKnown}, nil, "f at 10.0.0.7:51347: m"},
		"a panic with an error": {&PanicError{Value: fmt.Errorf("p: %w", errKnown)}, []error{errKnown}, nil, "p: known to both sides"},
		"not UTF-8":             {errors.New("a\xffb"), nil, nil, "a\uFFFDb"},
		"a bad Error method":    {badError{}, nil, nil, "badError"},
	} {
		t.Run(name, func(t *testing.T) {
			got := overTheWire(tc.err)
			if !strings.Contains(got.Error(), tc.text) {
				t.Errorf("text %q, want %q in it", got, tc.text)
			}
			for _, target := range tc.is {
				if !errors.Is(got, target) {
					t.Errorf("%v is not %v", got, target)
				}
			}
			for _, target := range tc.not {
				if errors.Is(got, target) {
					t.Errorf("%v is %v", got, target)
				}
			}
			again := overTheWire(got)
			for _, target := range tc.is {
				if !errors.Is(again, target) {
					t.Errorf("after a second link: %v is not %v", again, target)
				}
			}
		})
	}
	if overTheWire(nil) != nil {
		t.Error("nil arrives as an error")
	}
	if got := overTheWire(errKnown); got != errKnown { //nolint:errorlint // identity is the point
		t.Errorf("a bare sentinel arrives as %#v", got)
	}
}

type badError struct{}

func (badError) Error() string { panic("no text") }

func TestErrorTypesTravel(t *testing.T) {
	loc := Location{Addr: "10.0.0.7", Port: 51347}
	lost := overTheWire(&ServerLostError{Server: loc, Func: "f", Cause: fmt.Errorf("x: %w", ErrDisconnected)})
	var l *ServerLostError
	if !errors.As(lost, &l) || l.Server != loc || l.Func != "f" || !errors.Is(lost, ErrDisconnected) {
		t.Errorf("%#v", lost)
	}
	var p *PanicError
	if got := overTheWire(&PanicError{Value: 7, Stack: "the stack"}); !errors.As(got, &p) || p.Value != "7" || p.Stack != "the stack" {
		t.Errorf("%#v", got)
	}
	huge := overTheWire(errors.New(strings.Repeat("x", 1<<20)))
	if n := len(huge.Error()); n > 2*maxErrorText {
		t.Errorf("an error of %d bytes travels", n)
	}
}

func TestOutcomeKeepsWhereItFailed(t *testing.T) {
	rt := &Runtime{}
	c := &Coro{rt: rt, loc: Location{Addr: "h", Port: 1}, name: "f"}
	out := rt.outcomeOf(failed(errors.New("broken")), c)
	var r *RemoteError
	if !errors.As(out.Err, &r) || r.Func != "f" || r.Location != c.loc || r.Msg != "broken" {
		t.Errorf("%#v", out.Err)
	}
}

type named struct{ N int }

func TestResultAs(t *testing.T) {
	rt := &Runtime{}
	rt.cfg.MaxMessage = DefaultMaxMessage
	remote := func(v any) call.Outcome {
		o, err := encodeOutcome(rt, call.Outcome{Value: v})
		if err != nil {
			t.Fatal(err)
		}
		return call.Outcome{Remote: o}
	}
	for _, v := range []any{int32(5), "x", []string{"a"}, map[string]int{"a": 1}, time.Second, Location{Addr: "a", Port: 1}, true} {
		for _, out := range []call.Outcome{{Value: v}, remote(v)} {
			got, err := resultAs[any](rt, out, "f")
			if err != nil || !cmp.Equal(got, v) {
				t.Errorf("%T as any: %#v, %v", v, got, err)
			}
		}
	}
	if got, err := resultAs[named](rt, remote(named{3}), "f"); err != nil || got.N != 3 {
		t.Errorf("an unregistered type that is asked for by its type: %v, %v", got, err)
	}
	if _, err := resultAs[any](rt, remote(named{3}), "f"); !errors.Is(err, ErrTypeNotRegistered) {
		t.Errorf("an unregistered type as any: %v", err)
	}
	for _, out := range []call.Outcome{{Value: "x"}, remote("x")} {
		if _, err := resultAs[int](rt, out, "f"); !errors.Is(err, ErrType) || !strings.Contains(err.Error(), "int") {
			t.Errorf("text as int: %v", err)
		}
	}
	for _, out := range []call.Outcome{{}, remote(nil)} {
		if _, err := resultAs[None](rt, out, "f"); err != nil {
			t.Errorf("nothing as None: %v", err)
		}
		if v, err := resultAs[any](rt, out, "f"); err != nil || v != nil {
			t.Errorf("nothing as any: %v, %v", v, err)
		}
		if _, err := resultAs[int](rt, out, "f"); !errors.Is(err, ErrType) {
			t.Errorf("nothing as int: %v", err)
		}
	}
	if got, err := resultAs[error](rt, remote(fmt.Errorf("x: %w", errKnown)), "f"); err != nil || !errors.Is(got, errKnown) {
		t.Errorf("an error as a result: %v, %v", got, err)
	}
	rt.cfg.MaxMessage = 3
	if _, err := encodeOutcome(rt, call.Outcome{Value: "longer"}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a result beyond MaxMessage: %v", err)
	}
}

func TestSentinelsOfLongChainsEnd(t *testing.T) {
	err := error(&loopError{})
	if v := values.ErrorValue(err); v == nil {
		t.Error("nothing")
	}
	_ = wire.ErrorValue{}
}

// loopError wraps itself.
type loopError struct{}

func (e *loopError) Error() string { return "round" }
func (e *loopError) Unwrap() error { return e }

// TestManySentinels sends an error that wraps more registered errors than a frame has room for. The
// first ones travel.
func TestManySentinels(t *testing.T) {
	table := newSentinels()
	var all []error
	for i := range 2 * maxCodes {
		err := fmt.Errorf("planted %d", i)
		all = append(all, err)
		if err := table.add(fmt.Sprint("planted.", i), err); err != nil {
			t.Fatal(err)
		}
	}
	names := table.chain(errors.Join(all...))
	if len(names) != maxCodes || names[maxCodes-1] != fmt.Sprint("planted.", maxCodes-1) {
		t.Errorf("%d names, the last is %q", len(names), names[len(names)-1])
	}
}
