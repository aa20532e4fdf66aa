package live

import (
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/internal/seam"
	"github.com/discoro/discoro/internal/testkit"
)

// PeerLife is a runtime in a process of its own, with the time between its pulses as value. It prints
// its location, answers every Request to its coroutine "echo" with the same message, and ends with its
// standard input.
var PeerLife = testkit.Life{Env: testkit.PeerEnv, Serve: func(value string) error {
	pulse, err := time.ParseDuration(value)
	if err != nil {
		return err
	}
	cfg := discoro.Config{Name: "peer process", Logger: testkit.Quiet()}
	seam.Tune(&cfg, seam.Tuning{Pulse: pulse})
	rt, err := discoro.NewRuntime(cfg)
	if err != nil {
		return err
	}
	defer rt.Close()
	if err := spawnEcho(rt); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(os.Stdout, rt.Location()); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}}

// spawnEcho starts the coroutine "echo" of rt.
func spawnEcho(rt *discoro.Runtime) error {
	return rt.Spawn("echo", func(c *discoro.Coro) (any, error) {
		for {
			msg, err := c.Receive()
			if err != nil {
				return nil, err
			}
			if r, ok := msg.(*discoro.Request); ok {
				if err := r.Reply(r.Msg); err != nil {
					return nil, err
				}
			}
		}
	}).Register("echo")
}

// StartPeer starts a process with a PeerLife. It ends with the test, or before.
func StartPeer(tb testing.TB, pulse time.Duration) (*testkit.Process, discoro.Location) {
	tb.Helper()
	p := testkit.StartProcess(tb, testkit.PeerEnv, pulse.String())
	at, err := discoro.ParseLocation(p.Line)
	if err != nil {
		tb.Fatal(err)
	}
	return p, at
}
