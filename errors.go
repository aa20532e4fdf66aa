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

// The sentinels, for errors.Is. They hold across links: an error that wraps one arrives wrapping
// it.
var (
	// ErrTerminated is returned by every yield point of a coroutine that was terminated, or whose
	// computation or runtime closed. It is also the error that such a coroutine ends with.
	// errors.Is also takes it for [context.Canceled], because a Coro is a context.
	ErrTerminated = fault.Terminated
	// ErrTimeout is returned when one of this package's own bounds has passed: that of
	// ReceiveTimeout, or Config.MsgTimeout. When a context ends, the error is the context's.
	ErrTimeout = fault.Timeout
	// ErrClosed is returned when something is used after its Close.
	ErrClosed = fault.Closed
	// ErrNotFound is returned when no coroutine, channel, scheduler, node, server or file has that
	// name or number, or when the one that had it no longer exists.
	ErrNotFound = fault.NotFound
	// ErrNotRegistered is returned by the run of a function that the server's program has not
	// registered.
	ErrNotRegistered = fault.NotRegistered
	// ErrTypeNotRegistered is returned to the sender of a value, inside an interface, whose type
	// has no name on the wire; see [RegisterType].
	ErrTypeNotRegistered = wire.ErrTypeUnknown
	// ErrType is returned when a message, an argument or a result does not have the type that the
	// caller asks for.
	ErrType = fault.Type
	// ErrNoServer is returned when the context of a run ended while the run waited for a server, or
	// when the run asked for a server whose node is leaving.
	ErrNoServer = fault.NoServer
	// ErrDisconnected is returned when the link to the other runtime broke, or could not be made.
	ErrDisconnected = fault.Disconnected
	// ErrUnauthorized is returned when the other runtime does not know the secret, or has no
	// certificate.
	ErrUnauthorized = fault.Unauthorized
	// ErrTooLarge is returned when a message or a file exceeds a configured size.
	ErrTooLarge = fault.TooLarge
	// ErrExists is returned when a name or a file is taken, or when the same was done before: the
	// coroutine is subscribed already, the computation was scheduled, the request was answered.
	ErrExists = fault.Exists
	// ErrRejected is returned when a call is refused, and the error's text says why. Either the
	// other side refuses, because of its configuration or because it is too busy: then the same
	// call may succeed later, or elsewhere. Or this side refuses, because the call is a mistake: an
	// argument is nil or out of bounds, a coroutine would wait for itself, or the configuration
	// turns the function off.
	ErrRejected = fault.Rejected
)

// RemoteError is an error that a function or coroutine returned in another runtime. errors.Is finds
// in it the registered sentinels that the original error wrapped (see [RegisterError]); errors.As
// does not find the original's type.
type RemoteError struct {
	Func     string   // the function that was run; empty when none was
	Location Location // where it ran
	Msg      string   // the original's text

	chain []error // immutable: sentinels that the original wrapped
}

// Error returns the function, the location and the original's text.
func (e *RemoteError) Error() string {
	switch {
	case e.Location.IsZero():
		return e.Msg
	case e.Func == "":
		return fmt.Sprintf("%s (at %v)", e.Msg, e.Location)
	}
	return fmt.Sprintf("%s at %v: %s", e.Func, e.Location, e.Msg)
}

// Unwrap returns the sentinels that the original error wrapped.
func (e *RemoteError) Unwrap() []error { return e.chain }

// PanicError is the error of a coroutine that panicked.
type PanicError struct {
	Value any    // the argument of panic; its text when the coroutine ran in another runtime
	Stack string // where it panicked, without the frames of Go's runtime and of this package

	// What follows is set when the coroutine ran in another runtime.

	fn    string   // the function that was run
	loc   Location // where it ran
	chain []error  // the sentinels that the value wrapped
}

// Error returns the panic's value and, from another runtime, the function and the location. It does
// not return the stack.
func (e *PanicError) Error() string {
	if e.fn == "" {
		return fmt.Sprintf("panic: %v", e.Value)
	}
	return fmt.Sprintf("%s at %v: panic: %v", e.fn, e.loc, e.Value)
}

// Unwrap returns the panic's value when that is an error. From another runtime it returns the
// sentinels that the value wrapped.
func (e *PanicError) Unwrap() []error {
	if err, ok := e.Value.(error); ok {
		return []error{err}
	}
	return e.chain
}

// ServerLostError is the error of a run when its server died, was cut off or was replaced, or when
// the server closed before its client received the run's end. The function may have run, in part or
// to its end. RCSConfig.Retries runs such tasks again; Run does not.
type ServerLostError struct {
	Server Location // the server that was lost
	Func   string   // the function that it was running
	Cause  error    // how the loss was noticed
}

// Error returns the function, the server, and how the loss was noticed.
func (e *ServerLostError) Error() string {
	return fmt.Sprintf("discoro: run %s: server %v lost: %s", e.Func, e.Server, fault.Bare(e.Cause))
}

// Unwrap returns the cause.
func (e *ServerLostError) Unwrap() error { return e.Cause }

// errRuntimeClosed is the error of every call that needs an open runtime.
var errRuntimeClosed = fault.RuntimeClosed

// errGoexit is the error of a coroutine when its function has called runtime.Goexit, as
// testing.T.FailNow does.
var errGoexit = fault.Goexit

// nameRun adds to the failure of a run which function failed and where. So a registered error by
// itself arrives as a RemoteError too, and so does the loss of a server that the function used, as
// the function's own server is not lost. Terminations and the errors of contexts stay as they are.
func nameRun(v *wire.Failure, err error, fn string, loc Location) {
	if v == nil || v.Kind != "" && v.Kind != kindLost {
		return
	}
	if slices.Contains([]error{ErrTerminated, context.Canceled, context.DeadlineExceeded}, err) {
		return
	}
	v.Kind, v.Value, v.Func, v.Host, v.Port = kindRemote, "", fn, loc.Addr, loc.Port
}

// encodeError returns what travels of an error by itself.
func encodeError(err error) *wire.Failure { return values.ErrorValue(err) }

// sentinels holds the errors that have a name on the wire.
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

// maxCodes bounds how many registered errors are found in one error, because their names must fit
// into a frame.
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
		// Only its Is method makes a syscall's error an fs.ErrNotExist.
		for _, name := range slices.Sorted(maps.Keys(t.byName)) {
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

// walkChain calls visit with err and with everything that it wraps.
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
	kindRemote = "remote" // it was a RemoteError already, and keeps its location
	kindPlain  = "plain"  // an error of this module's own, whose text is complete
)

// maxErrorText bounds the text of an error, and a stack, on the wire.
const maxErrorText = 16 << 10

// errorValue returns what travels of an error.
func errorValue(err error) wire.ErrorValue {
	v := errorFields{Msg: safeText(err)}
	func() {
		defer func() { _ = recover() }() // when an Is or Unwrap method panics, there are no codes
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

// errorFields is an ErrorValue in the making.
type errorFields wire.ErrorValue

// setType fills in what travels of an error that arrives as its own type. It reports false for
// others.
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

// safeText returns err's text, even when its Error method panics.
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

// errorFrom returns the error that arrives for v. A sentinel, or an error of a context, arrives as
// itself when it is not wrapped.
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
