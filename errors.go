package discoro

import (
	"fmt"

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
