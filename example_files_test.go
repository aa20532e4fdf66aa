package discoro_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/discoro/discoro"
)

// lineCount reads a file that is in the folder of its server.
var lineCount = discoro.Register("example.lines", func(c *discoro.Coro, name string) (lines int, err error) {
	err = c.Blocking(func() error {
		text, err := os.ReadFile(filepath.Join(c.Dir(), filepath.Base(name)))
		for _, b := range text {
			if b == '\n' {
				lines++
			}
		}
		return err
	})
	return lines, err
})

// How do files get to servers?
func ExampleRuntime_SendFile() {
	in(1, func(ctx context.Context, rt *discoro.Runtime, comp *discoro.Computation) (err error) {
		file := filepath.Join(rt.DestPath(), "poem.txt")
		if err := os.WriteFile(file, []byte("roses are red\nviolets are blue\n"), 0o600); err != nil {
			return err
		}
		servers, err := comp.Servers(ctx)
		if err != nil {
			return err
		}
		if err := rt.SendFile(ctx, servers[0], file); err != nil {
			return err
		}
		coro, err := comp.RunAt(ctx, servers[0], lineCount.With("poem.txt"))
		if err != nil {
			return err
		}
		fmt.Println(discoro.Result[int](ctx, coro))
		fmt.Println(errors.Is(rt.SendFile(ctx, servers[0], file), discoro.ErrExists)) // unless FileOptions.Overwrite says so
		return rt.DeleteFile(ctx, servers[0], "poem.txt")                             // else it goes when the computation closes
	})
	// Output:
	// 2 <nil>
	// true
}

// How does every server have the same files before it is used?
func ExampleComputationConfig_files() {
	on(2, func(ctx context.Context, sched *discoro.Scheduler, _ *discoro.Node) error {
		file := filepath.Join(sched.DestPath(), "song.txt")
		if err := os.WriteFile(file, []byte("la\nla\nla\n"), 0o600); err != nil {
			return err
		}
		comp, err := discoro.NewComputation(sched.Runtime, discoro.ComputationConfig{Files: []string{file}})
		if err != nil {
			return err
		}
		if err := errors.Join(comp.Schedule(ctx), comp.WaitServers(ctx, 2)); err != nil {
			return err
		}
		coros, err := comp.RunServers(ctx, lineCount.With("song.txt"))
		for _, coro := range coros {
			fmt.Println(discoro.Result[int](ctx, coro))
		}
		return errors.Join(err, comp.Close(ctx))
	})
	// Output:
	// 3 <nil>
	// 3 <nil>
}

// writeReport writes a file at its server, and sends it to whom the argument says.
var writeReport = discoro.Register("example.report", func(c *discoro.Coro, client discoro.Location) (string, error) {
	path := filepath.Join(c.Dir(), "report.txt")
	err := c.Blocking(func() error { return os.WriteFile(path, []byte("all is well\n"), 0o600) })
	if err != nil {
		return "", err
	}
	return filepath.Base(path), c.Runtime().SendFile(c, client, path, discoro.FileOptions{
		Dir:      "reports", // below the client's DestPath
		Progress: func(sent, total int64) { c.Logger().Info("sending", "bytes", sent, "of", total) },
	})
})

// How do results come back as files?
func ExampleFileOptions() {
	in(1, func(ctx context.Context, rt *discoro.Runtime, comp *discoro.Computation) error {
		coro, err := comp.Run(ctx, writeReport.With(rt.Location()))
		if err != nil {
			return err
		}
		name, err := discoro.Result[string](ctx, coro)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(filepath.Join(rt.DestPath(), "reports", name)) // it is whole: SendFile has returned
		fmt.Print(string(text))
		return err
	})
	// Output: all is well
}
