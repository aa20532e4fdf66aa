package fault

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

//lint:file-ignore ST1012 the sentinels' public names, discoro.ErrClosed and the others, begin with Err

// The sentinels. Package discoro says when each one is returned.
var (
	Terminated    error = terminated{}
	Timeout             = errors.New("timed out")
	Closed              = errors.New("closed")
	NotFound            = errors.New("not found")
	NotRegistered       = errors.New("function not registered")
	Type                = errors.New("wrong type")
	NoServer            = errors.New("no server")
	Disconnected        = errors.New("disconnected")
	Unauthorized        = errors.New("unauthorized")
	TooLarge            = errors.New("too large")
	Exists              = errors.New("exists already")
	Rejected            = errors.New("rejected")

	// Goexit is how a function ended that called runtime.Goexit, as FailNow of package testing does.
	Goexit = errors.New("the function ended by runtime.Goexit")
)

// RuntimeClosed is why nothing more can be done with a runtime. It wraps Closed.
var RuntimeClosed = New("the runtime is closed", Closed)

// terminated is the type of Terminated. A coroutine is a context, so code that only knows contexts
// must see context.Canceled.
type terminated struct{}

func (terminated) Error() string { return "terminated" }

// Is reports that Terminated is also context.Canceled.
func (terminated) Is(target error) bool { return target == context.Canceled }

// Prefix is how the text of an error of this module begins.
const Prefix = "discoro: "

// New returns an error with exactly this text, in which errors.Is and errors.As find of.
func New(text string, of ...error) error { return &plain{text: text, of: of} }

// IsPlain reports whether err itself, and not one that it wraps, was made by [New]. The text of
// such an error is complete.
func IsPlain(err error) bool {
	_, ok := err.(*plain) //nolint:errorlint // the error itself is asked about
	return ok
}

// plain is an error whose text is complete.
type plain struct {
	text string
	of   []error
}

func (e *plain) Error() string   { return e.text }
func (e *plain) Unwrap() []error { return e.of }

// Because returns err with what was tried when it happened in front of its text. The text has one
// prefix, whether or not err, which may come from another runtime, has one already.
func Because(err error, format string, args ...any) error {
	return &caused{Prefix + fmt.Sprintf(format, args...) + ": " + Bare(err), err}
}

// Bare returns the text of err without the prefix.
func Bare(err error) string { return strings.TrimPrefix(fmt.Sprint(err), Prefix) }

// caused is an error with what was tried.
type caused struct {
	text string
	err  error
}

func (e *caused) Error() string { return e.text }
func (e *caused) Unwrap() error { return e.err }

// Count returns a number with the noun that it counts, which takes an s for the plural.
func Count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
