// Command client1 runs one function on many files, one at a server at a time, results in order.
//
// It prints the SHA-256 of every file below a folder, in the form that sha256sum -c reads. Each
// file travels as an argument, which may have 64 MiB unless Config.MaxMessage is set. Example
// client4 sends files as files. In asyncoro: discoro_client1.py.
//
//	go run ./examples/client1                          # two servers on this machine, the current folder
//	go run ./examples/client1 FOLDER | sha256sum -c
//
// On several machines, with the same DISCORO_SECRET everywhere:
//
//	go run ./examples/client1 -node -listen 10.0.0.8:7070    # on 10.0.0.8: a node
//	go run ./examples/client1 -peers 10.0.0.8:7070 FOLDER    # elsewhere: the client
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/examples/internal/demo"
)

// digest runs at the servers. Each server is this program too, so it has the function.
var digest = discoro.Register("client1.digest", func(_ *discoro.Coro, data []byte) (string, error) {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
})

func main() {
	discoro.Init() // a server process goes no further
	demo.Main(&demo.Program{Name: "client1", Arg: "[folder]", Servers: 2, Work: run})
}

func run(ctx context.Context, sched *discoro.Scheduler, folder string) error {
	if folder == "" {
		folder = "."
	}
	paths, err := files(folder)
	if err != nil {
		return err
	}
	comp, err := discoro.NewComputation(sched.Runtime)
	if err != nil {
		return err
	}
	rcs, err := discoro.NewRemoteCoroScheduler(comp, discoro.RCSConfig{Retries: 2})
	if err != nil {
		return err
	}
	var unread error
	digests, err := discoro.MapResults(ctx, rcs, digest, contents(paths, &unread))
	for i, text := range digests { // in the order of paths, whichever server was faster
		if text != "" { // else err says why
			fmt.Printf("%s  %s\n", text, paths[i])
		}
	}
	return errors.Join(unread, err, rcs.Finish(ctx, true))
}

// contents reads the next file when a server is free to take it.
func contents(paths []string, unread *error) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				*unread = err
				return
			}
			if !yield(data) {
				return
			}
		}
	}
}

// files lists the files below folder, without hidden ones.
func files(folder string) ([]string, error) {
	var paths []string
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path != folder && strings.HasPrefix(d.Name(), "."):
			if d.IsDir() {
				return fs.SkipDir
			}
		case d.Type().IsRegular():
			paths = append(paths, path)
		}
		return nil
	})
	return paths, err
}
