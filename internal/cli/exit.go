package cli

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/discoro/discoro/internal/fault"
)

// Exit codes of both programs. After an orderly end it is 0.
const (
	Failed = 1   // the role could not start, or not end in order
	BadUse = 2   // an option is wrong
	Forced = 130 // a signal ended the program at once
)

// exitError is an error with an exit code. Programs with subcommands find the code by the method,
// as they do that of exec.ExitError.
type exitError struct {
	code int
	err  error
}

// WithCode returns err with an exit code: it has a method ExitCode() int.
func WithCode(code int, err error) error { return &exitError{code, err} }

// Error returns the error's own text.
func (e *exitError) Error() string { return e.err.Error() }

// Unwrap returns the error itself.
func (e *exitError) Unwrap() error { return e.err }

// ExitCode returns the exit code.
func (e *exitError) ExitCode() int { return e.code }

// badUse returns the error of an option.
func badUse(format string, args ...any) error {
	return WithCode(BadUse, fmt.Errorf(fault.Prefix+format, args...))
}

// ExitCode writes err, if there is one, to standard error in one line, and returns the exit code.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, strings.ReplaceAll(err.Error(), "\n", "; "))
	var exit *exitError
	if errors.As(err, &exit) {
		return exit.code
	}
	return Failed
}

// A FieldError is an error of one field of a configuration. Unwrap returns what is wrong with it.
type FieldError interface {
	error
	Field() string
	Unwrap() error
}

// Usage returns the error of starting a role with the struct that cfg points to, as its user knows
// it: a [FieldError] is named after the option that sets the field, and has the exit code [BadUse].
func Usage(cfg any, err error) error {
	var wrong FieldError
	if !errors.As(err, &wrong) {
		return err
	}
	f, _ := reflect.TypeOf(cfg).Elem().FieldByName(wrong.Field())
	name := optionOf(f)
	if name == "" {
		return err
	}
	return badUse("%s: %w", flagName(name), wrong.Unwrap())
}
