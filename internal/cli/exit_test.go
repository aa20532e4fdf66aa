package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

// wrongFieldError is an error of one field.
type wrongFieldError struct {
	field string
	err   error
}

func (e wrongFieldError) Error() string { return e.field + ": " + e.err.Error() }
func (e wrongFieldError) Unwrap() error { return e.err }
func (e wrongFieldError) Field() string { return e.field }

// TestUsage names options in errors of fields, and leaves other errors alone.
func TestUsage(t *testing.T) {
	t.Parallel()
	for field, says := range map[string]string{"Servers": "discoro: -c: ", "TCPPort": "discoro: --tcp_port: "} {
		err := Usage(&nodeOptions{}, fmt.Errorf("start: %w", wrongFieldError{field, os.ErrInvalid}))
		var exit interface{ ExitCode() int }
		if !errors.As(err, &exit) || exit.ExitCode() != BadUse || !strings.HasPrefix(err.Error(), says) || !errors.Is(err, os.ErrInvalid) {
			t.Errorf("%s: %v", field, err)
		}
	}
	for _, err := range []error{os.ErrClosed, wrongFieldError{"Processes", os.ErrInvalid}, wrongFieldError{"Nowhere", os.ErrInvalid}} {
		if got := Usage(&nodeOptions{}, err); got != err { //nolint:errorlint // the error itself
			t.Errorf("%v became %v", err, got)
		}
	}
}

func TestExitCode(t *testing.T) {
	old := os.Stderr
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	os.Stderr = write
	codes := []int{
		ExitCode(nil), ExitCode(errors.New("one\ntwo")), ExitCode(fmt.Errorf("start: %w", badUse("no"))),
	}
	os.Stderr = old
	if err := write.Close(); err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(read)
	if err = errors.Join(err, read.Close()); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(codes, " ", string(out)), "[0 1 2] one; two\nstart: discoro: no\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestHelpAndSave does what ends a program before it starts.
func TestHelpAndSave(t *testing.T) {
	old := os.Stdout
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	os.Stdout = write
	file := t.TempDir() + "/saved"
	for _, args := range [][]string{{"--save_config", file, "-c", "4"}, {"--help"}} {
		var cfg nodeOptions
		if f, err := Parse(cfg.program(), args); f != nil || err != nil {
			t.Errorf("%q: %v, %v", args, f, err)
		}
	}
	os.Stdout = old
	if err := write.Close(); err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(read)
	if err = errors.Join(err, read.Close()); err != nil {
		t.Fatal(err)
	}
	text := string(out)
	for _, want := range []string{"saved to " + file, "A program.", "\n  -c N\n", "\n  -n, --name NAME\n", "\n  --phoenix\n", "DISCORO_NAME"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	if strings.Contains(text, "--ping_interval") {
		t.Error("it shows an option that the program does not have")
	}
}
