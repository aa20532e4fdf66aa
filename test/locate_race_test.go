package test

import (
	"errors"
	"testing"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/internal/testkit/live"
)

// TestRegisterAtTheEnd registers coroutines while they end: afterwards the name must be free in
// either case.
func TestRegisterAtTheEnd(t *testing.T) {
	rt := live.Runtime(t)
	for range 20000 {
		c := rt.Spawn("ends", func(*discoro.Coro) (any, error) { return nil, nil })
		if err := c.Register("x"); err != nil && !errors.Is(err, discoro.ErrNotFound) {
			t.Fatal(err)
		}
		if err := c.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := rt.Locate(t.Context(), "x"); err == nil {
			t.Fatal("a coroutine that has ended is still registered")
		}
	}
}
