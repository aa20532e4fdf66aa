// Command client4 sends files to servers, and gets files with the results back.
//
// Each file of a folder goes to a server. A coroutine there counts its words, and sends a file with
// the list of them back, the most frequent words first. In asyncoro: discoro_client4.py.
//
//	go run ./examples/client4 .                          # two servers on this machine, the files in this folder
//
// On several machines, with the same DISCORO_SECRET everywhere:
//
//	go run ./examples/client4 -node -listen 10.0.0.8:7070    # on 10.0.0.8: a node
//	go run ./examples/client4 -peers 10.0.0.8:7070 .         # elsewhere: the client
package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unicode"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/examples/internal/demo"
)

// inbox is the folder for files below a server's, and for results below the client's.
const inbox = "client4"

// Counted is what a server says about a file. The words themselves come in a file.
type Counted struct {
	Lines, Words, Different int
	Result                  string // name of that file
}

// count runs at servers. The client sends it the name of a file when the file is in the folder of
// the server. The list of words goes to the runtime at client, as a file.
var count = discoro.Register("client4.count", func(c *discoro.Coro, client discoro.Location) (Counted, error) {
	name, err := discoro.ReceiveAs[string](c)
	if err != nil {
		return Counted{}, err
	}
	var done Counted
	path := filepath.Join(c.Dir(), inbox, name)
	result := path + ".words"
	defer os.Remove(path)
	defer os.Remove(result)
	err = c.Blocking(func() error { // reads and writes files without the turn
		words, err := done.read(path)
		if err != nil {
			return err
		}
		return writeWords(result, words)
	})
	if err != nil {
		return Counted{}, err
	}
	done.Result = filepath.Base(result)
	return done, c.Runtime().SendFile(c, client, result, discoro.FileOptions{Dir: inbox, Overwrite: true})
})

// read counts what is in a file.
func (n *Counted) read(path string) (map[string]int, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	words := map[string]int{}
	r := bufio.NewReader(f)
	for {
		line, err := r.ReadString('\n')
		if line != "" {
			n.Lines++
		}
		for _, word := range strings.FieldsFunc(line, func(r rune) bool { return !unicode.IsLetter(r) }) {
			words[strings.ToLower(word)]++
			n.Words++
		}
		if errors.Is(err, io.EOF) {
			n.Different = len(words)
			return words, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func writeWords(path string, words map[string]int) error {
	var b strings.Builder
	for _, w := range slices.SortedFunc(maps.Keys(words), func(a, b string) int {
		return cmp.Or(cmp.Compare(words[b], words[a]), cmp.Compare(a, b))
	}) {
		fmt.Fprintf(&b, "%d %s\n", words[w], w)
	}
	return os.WriteFile(path, []byte(b.String()), 0o600)
}

func main() {
	discoro.Init() // a server process goes no further
	demo.Main(&demo.Program{Name: "client4", Arg: "[folder]", Servers: 2, Work: run})
}

func run(ctx context.Context, sched *discoro.Scheduler, folder string) error {
	files, err := filesIn(cmp.Or(folder, "."))
	if err != nil {
		return err
	}
	comp, err := discoro.NewComputation(sched.Runtime)
	if err != nil {
		return err
	}
	rcs, err := discoro.NewRemoteCoroScheduler(comp)
	if err != nil {
		return err
	}
	lines := make([]string, len(files))
	errs := make([]error, len(files))
	var wg sync.WaitGroup
	for i, path := range files {
		var co *discoro.Coro
		if co, err = rcs.Schedule(ctx, count.With(sched.Location())); err != nil { // waits for a server that is free
			break
		}
		wg.Go(func() { lines[i], errs[i] = serve(ctx, sched.Runtime, co, path) })
	}
	wg.Wait()
	for _, line := range lines {
		if line != "" {
			fmt.Println(line)
		}
	}
	return errors.Join(err, errors.Join(errs...), rcs.Finish(ctx, true))
}

// serve sends a coroutine the file to work on, and prints the result.
func serve(ctx context.Context, rt *discoro.Runtime, co *discoro.Coro, path string) (string, error) {
	name := filepath.Base(path)
	err := rt.SendFile(ctx, co.Location(), path, discoro.FileOptions{Dir: inbox})
	if err == nil {
		err = co.Send(name)
	}
	if err != nil {
		return "", errors.Join(err, co.Terminate())
	}
	done, err := discoro.Result[Counted](ctx, co)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	top, err := os.ReadFile(filepath.Join(rt.DestPath(), inbox, done.Result))
	if err != nil {
		return "", err
	}
	frequent := strings.SplitN(string(top), "\n", 4)
	return fmt.Sprintf("%s: %d lines, %d words, %d different: %s", name, done.Lines, done.Words, done.Different,
		strings.TrimSuffix(strings.Join(frequent[:len(frequent)-1], ", "), ", ")), nil
}

// filesIn lists the files in a folder, except hidden ones.
func filesIn(folder string) ([]string, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if e.Type().IsRegular() && !strings.HasPrefix(e.Name(), ".") {
			files = append(files, filepath.Join(folder, e.Name()))
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s: no files in it", folder)
	}
	return files, nil
}
