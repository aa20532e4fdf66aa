package discoro

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"slices"
	"sync"

	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/wire"
)

// The sentinels, for errors.Is. They hold across links: an error that wraps one arrives wrapping it.
var (
	// ErrTerminated comes back from every yield point of a coroutine that was terminated, or whose computation or
	// runtime closed, and is how such a coroutine ends. It is also a [context.Canceled] to errors.Is.
	ErrTerminated = fault.Terminated
	// ErrTimeout comes back when a bound of discoro's own ran out: ReceiveTimeout, Config.MsgTimeout.
	ErrTimeout = fault.Timeout
	// ErrClosed comes back from whatever is used after its Close.
	ErrClosed = fault.Closed
	// ErrNotFound comes back when there is no coroutine, scheduler, node, server or file of that name or number, or no longer.
	ErrNotFound = fault.NotFound
	// ErrNotRegistered comes back from a run of a function that the program at the server has not registered.
	ErrNotRegistered = fault.NotRegistered
	// ErrTypeNotRegistered comes back to the sender of a value inside any whose type has no name on the wire.
	ErrTypeNotRegistered = wire.ErrTypeUnknown
	// ErrType comes back when a message, argument or result is of another type than asked for.
	ErrType = fault.Type
	// ErrNoServer comes back when a run has waited for a server until its context ended, or asked for one whose node is
	// leaving.
	ErrNoServer = fault.NoServer
	// ErrDisconnected comes back when the link to the other side broke, or could not be made.
	ErrDisconnected = fault.Disconnected
	// ErrUnauthorized comes back when the other side does not know the secret, or has no certificate.
	ErrUnauthorized = fault.Unauthorized
	// ErrTooLarge comes back when a message or file is beyond a configured size.
	ErrTooLarge = fault.TooLarge
	// ErrExists comes back when a name or file is taken.
	ErrExists = fault.Exists
	// ErrRejected comes back when the other side refused: by its configuration, or because it is busy.
	ErrRejected = fault.Rejected
)

// RemoteError is an error that a function returned at another runtime. It wraps the registered sentinels of the
// original's chain.
type RemoteError struct {
	Func     string   // the function that was run, where there was one
	Location Location // where it ran
	Msg      string   // the original's text

	chain []error // immutable: sentinels that the original wrapped
}

// Error tells what failed, where, and how.
func (e *RemoteError) Error() string {
	switch {
	case e.Location.IsZero():
		return e.Msg
	case e.Func == "":
		return fmt.Sprintf("%s (at %v)", e.Msg, e.Location)
	}
	return fmt.Sprintf("%s at %v: %s", e.Func, e.Location, e.Msg)
}

// Unwrap gives the sentinels that the original error wrapped.
func (e *RemoteError) Unwrap() []error { return e.chain }

// PanicError is how a coroutine ends that panicked.
type PanicError struct {
	Value any    // what was given to panic; its text where the coroutine ran elsewhere
	Stack string // of the panic, without the frames of the runtime and of this package

	fn    string   // the function that was run, when that was elsewhere
	loc   Location // where, when that was elsewhere
	chain []error  // sentinels that the value wrapped, when that was elsewhere
}

// Error tells the value, and where it happened when that was elsewhere. The stack is in Stack.
func (e *PanicError) Error() string {
	if e.fn == "" {
		return fmt.Sprintf("panic: %v", e.Value)
	}
	return fmt.Sprintf("%s at %v: panic: %v", e.fn, e.loc, e.Value)
}

// Unwrap gives the value that was panicked with, when it is an error; from elsewhere, the sentinels that it wrapped.
func (e *PanicError) Unwrap() []error {
	if err, ok := e.Value.(error); ok {
		return []error{err}
	}
	return e.chain
}

// ServerLostError is how a job ends whose server died, was cut off, or was replaced, or has closed without its client having heard of the job.
type ServerLostError struct {
	Server Location
	Func   string
	Cause  error // how the loss showed
}

// Error tells which server was lost, what it was running, and how the loss showed.
func (e *ServerLostError) Error() string {
	return fmt.Sprintf("discoro: run %s: server %v lost: %s", e.Func, e.Server, fault.Bare(e.Cause))
}

// Unwrap gives the cause.
func (e *ServerLostError) Unwrap() error { return e.Cause }

// errRuntimeClosed is why nothing can be done any more with a runtime.
var errRuntimeClosed = fault.New("the runtime is closed", ErrClosed)

// errGoexit is how a coroutine ends whose function called runtime.Goexit (testing's FailNow does).
var errGoexit = fault.Goexit

// nameRun adds to the failure of a run which function failed and where, so that a registered error by itself arrives as a
// RemoteError too, and so does the loss of a server that the function used: its own is not lost. Terminations and the errors of contexts
// stay themselves.
func nameRun(v *wire.Failure, err error, fn string, loc Location) {
	if v == nil || v.Kind != "" && v.Kind != kindLost {
		return
	}
	if slices.Contains([]error{ErrTerminated, context.Canceled, context.DeadlineExceeded}, err) {
		return
	}
	v.Kind, v.Value, v.Func, v.Host, v.Port = kindRemote, "", fn, loc.Addr, loc.Port
}

func encodeError(err error) *wire.Failure { return values.ErrorValue(err) }

// sentinels are the errors that have a name on the wire.
var sentinels = newSentinels()

type sentinelTable struct {
	mu     sync.RWMutex // guards following; leaf
	byName map[string]error
	names  map[error]string
}

func newSentinels() *sentinelTable {
	t := &sentinelTable{byName: map[string]error{}, names: map[error]string{}}
	for name, err := range map[string]error{
		"discoro.terminated": ErrTerminated, "discoro.timeout": ErrTimeout, "discoro.closed": ErrClosed,
		"discoro.not-found": ErrNotFound, "discoro.not-registered": ErrNotRegistered,
		"discoro.type-not-registered": ErrTypeNotRegistered, "discoro.type": ErrType, "discoro.no-server": ErrNoServer,
		"discoro.disconnected": ErrDisconnected, "discoro.unauthorized": ErrUnauthorized, "discoro.too-large": ErrTooLarge,
		"discoro.exists": ErrExists, "discoro.rejected": ErrRejected, "discoro.goexit": errGoexit,
		"canceled": context.Canceled, "deadline": context.DeadlineExceeded,
		"eof": io.EOF, "unexpected-eof": io.ErrUnexpectedEOF, "fs.not-exist": fs.ErrNotExist, "fs.exist": fs.ErrExist,
		"fs.permission": fs.ErrPermission, "fs.closed": fs.ErrClosed, "os.deadline": os.ErrDeadlineExceeded,
	} {
		t.byName[name], t.names[err] = err, name
	}
	return t
}

func (t *sentinelTable) add(name string, err error) error {
	switch {
	case name == "" || len(name) > maxName:
		return fmt.Errorf("a name has 1 to %d bytes", maxName)
	case err == nil:
		return errors.New("the error is nil")
	case !reflect.TypeOf(err).Comparable():
		return fmt.Errorf("a %T cannot be compared: errors.Is would never find it", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if other := t.byName[name]; other != nil {
		return fmt.Errorf("the name is that of %q", other.Error())
	}
	if other, ok := t.names[err]; ok {
		return fmt.Errorf("the error is registered as %q", other)
	}
	t.byName[name], t.names[err] = err, name
	return nil
}

// maxCodes bounds how many registered errors are found in one: their names have to fit into a frame.
const maxCodes = 256

// chain returns the names of the registered errors that err is or wraps, in order.
func (t *sentinelTable) chain(err error) []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var names []string
	add := func(name string) {
		if len(names) < maxCodes && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	walkChain(err, 0, func(e error) {
		if reflect.TypeOf(e).Comparable() {
			if name, ok := t.names[e]; ok {
				add(name)
			}
		}
		like, ok := e.(interface{ Is(error) bool })
		if !ok {
			return
		}
		for _, name := range slices.Sorted(maps.Keys(t.byName)) { // a syscall's error is an fs.ErrNotExist by its Is only
			if like.Is(t.byName[name]) {
				add(name)
			}
		}
	})
	return names
}

func (t *sentinelTable) errors(names []string) []error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var errs []error
	for _, name := range names {
		if err := t.byName[name]; err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// maxChain bounds how deep the chain of an error is followed.
const maxChain = 64

// walkChain calls visit with err and everything that it wraps.
func walkChain(err error, depth int, visit func(error)) {
	if err == nil || depth > maxChain {
		return
	}
	visit(err)
	switch e := err.(type) { //nolint:errorlint // the chain itself is walked
	case interface{ Unwrap() error }:
		walkChain(e.Unwrap(), depth+1, visit)
	case interface{ Unwrap() []error }:
		for _, e := range e.Unwrap() {
			walkChain(e, depth+1, visit)
		}
	}
}

// Kinds of errors that arrive as a type of their own.
const (
	kindPanic  = "panic"
	kindLost   = "lost"
	kindRemote = "remote" // already a RemoteError: it keeps where it happened
	kindPlain  = "plain"  // its text says all: discoro's own errors
)

// maxErrorText bounds an error's text, and a stack, on the wire.
const maxErrorText = 16 << 10

// errorValue is what travels of an error.
func errorValue(err error) wire.ErrorValue {
	v := errorFields{Msg: safeText(err)}
	func() {
		defer func() { _ = recover() }() // an Is or Unwrap method that panics leaves the codes out
		v.Codes = sentinels.chain(err)
	}()
	if fault.IsPlain(err) {
		v.Kind = kindPlain
	}
	typed := false
	walkChain(err, 0, func(e error) { // not errors.As, which never ends for an error that wraps itself
		if !typed {
			typed = v.setType(e)
		}
	})
	return wire.ErrorValue(v)
}

// errorFields is an ErrorValue that is being made.
type errorFields wire.ErrorValue

// setType fills in what travels of an error that arrives as its own type; it reports false for others.
func (v *errorFields) setType(err error) bool {
	switch e := err.(type) { //nolint:errorlint // the chain is walked
	case *PanicError:
		v.Kind, v.Value, v.Stack = kindPanic, cut(fmt.Sprint(e.Value)), cut(e.Stack)
		v.Func, v.Host, v.Port = e.fn, e.loc.Addr, e.loc.Port
	case *ServerLostError:
		v.Kind, v.Func, v.Host, v.Port = kindLost, e.Func, e.Server.Addr, e.Server.Port
		v.Value = safeText(e.Cause)
	case *RemoteError:
		v.Kind, v.Msg, v.Func, v.Host, v.Port = kindRemote, cut(e.Msg), e.Func, e.Location.Addr, e.Location.Port
	default:
		return false
	}
	return true
}

// safeText is err's text, even if its Error method panics.
func safeText(err error) (text string) {
	defer func() {
		if p := recover(); p != nil {
			text = fmt.Sprintf("%T, whose Error method panicked: %v", err, p)
		}
	}()
	if err == nil {
		return ""
	}
	return cut(err.Error())
}

func cut(s string) string {
	if len(s) > maxErrorText {
		return s[:maxErrorText] + "... (cut)"
	}
	return s
}

// errorFrom is the error that arrives. A sentinel or an error of a context by itself arrives as itself.
func errorFrom(v wire.ErrorValue) error {
	chain := sentinels.errors(v.Codes)
	loc := Location{Addr: v.Host, Port: v.Port}
	switch v.Kind {
	case kindPanic:
		return &PanicError{Value: v.Value, Stack: v.Stack, fn: v.Func, loc: loc, chain: chain}
	case kindLost:
		return &ServerLostError{Server: loc, Func: v.Func, Cause: fault.New(v.Value, chain...)}
	case kindPlain:
		return fault.New(v.Msg, chain...)
	}
	if len(chain) > 0 && chain[0].Error() == v.Msg && v.Kind == "" {
		return chain[0]
	}
	return &RemoteError{Func: v.Func, Location: loc, Msg: v.Msg, chain: chain}
}
