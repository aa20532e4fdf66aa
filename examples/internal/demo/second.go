package demo

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"time"

	"github.com/discoro/discoro"
)

// WithSecond runs first while this program runs once more, with the same secret and other arguments.
// It waits for the end of the second process, and kills it when first fails or ctx ends.
func WithSecond(ctx context.Context, opt *Options, first func() error, args ...string) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	second := exec.CommandContext(ctx, exe, args...)
	second.Env = append(os.Environ(), "DISCORO_SECRET="+opt.Secret) // in the arguments every user could see it
	second.Stdout, second.Stderr = os.Stdout, os.Stderr
	if err := second.Start(); err != nil {
		return err
	}
	if err := first(); err != nil {
		cancel()
		_ = second.Wait() // it was killed
		return err
	}
	return second.Wait()
}

// Find calls locate until it succeeds, because another program may still be starting.
func Find[T any](ctx context.Context, locate func() (T, error)) (T, error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		found, err := locate()
		if !errors.Is(err, discoro.ErrNotFound) {
			return found, err
		}
		select {
		case <-ctx.Done():
			return found, err
		case <-tick.C:
		}
	}
}
