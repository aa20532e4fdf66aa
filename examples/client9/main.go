// Command client9 prepares servers before they are used, and cleans up after.
//
// Each server gets the same texts, and keeps an index of them in its memory, in a Var. Questions
// are then answered from there. Before the servers close they are asked to clean up. A server that
// replaces a lost one is prepared too. In asyncoro: discoro_client9.py.
//
//	go run ./examples/client9                          # two servers on this machine, the Go files below the current folder
//	go run ./examples/client9 -words one,two FOLDER
//
// On several machines, with the same DISCORO_SECRET everywhere:
//
//	go run ./examples/client9 -node -listen 10.0.0.8:7070    # on 10.0.0.8: a node
//	go run ./examples/client9 -peers 10.0.0.8:7070           # elsewhere: the client
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/examples/internal/demo"
)

// Text is a file.
type Text struct{ Path, Content string }

// index is what a server keeps: where each word occurs. Coroutines of a server share it without a
// lock.
type index struct {
	places map[string][]Place
	asked  int // how many questions it has answered
}

// Place is how often a word occurs in a file.
type Place struct {
	Path  string
	Count int
}

// memory holds a server's index while it serves the computation.
var memory discoro.Var[*index]

// These functions run at servers: to prepare them, to answer questions, and to clean up.
var (
	load = discoro.Register("client9.load", func(c *discoro.Coro, texts []Text) (words int, err error) {
		ix := newIndex(texts)
		memory.Set(c, ix)
		return len(ix.places), nil
	})
	find = discoro.Register("client9.find", func(c *discoro.Coro, word string) ([]Place, error) {
		ix, _ := memory.Get(c)
		if ix == nil {
			return nil, errors.New("this server was not set up")
		}
		ix.asked++
		return ix.places[word], nil
	})
	forget = discoro.Register("client9.forget", func(c *discoro.Coro, _ discoro.None) (asked int, err error) {
		if ix, _ := memory.Get(c); ix != nil {
			asked = ix.asked
		}
		memory.Set(c, nil)
		return asked, nil
	})
)

func newIndex(texts []Text) *index {
	ix := &index{places: map[string][]Place{}}
	for _, t := range texts {
		counts := map[string]int{}
		for word := range strings.FieldsSeq(t.Content) {
			counts[strings.Trim(word, ".,;:()[]{}\"'`")]++
		}
		for word, n := range counts {
			ix.places[word] = append(ix.places[word], Place{t.Path, n})
		}
	}
	return ix
}

func main() {
	discoro.Init() // a server process goes no further
	var words string
	demo.Main(&demo.Program{
		Name: "client9", Arg: "[folder]", Servers: 2,
		Flags: func(fs *flag.FlagSet) {
			fs.StringVar(&words, "words", "coroutine,computation,error,func,mailbox,scheduler", "what to look for, with commas")
		},
		Work: func(ctx context.Context, sched *discoro.Scheduler, folder string) error {
			return run(ctx, sched.Runtime, folder, strings.Split(words, ","))
		},
	})
}

func run(ctx context.Context, rt *discoro.Runtime, folder string, words []string) error {
	texts, err := read(folder)
	if err != nil {
		return err
	}
	comp, err := discoro.NewComputation(rt)
	if err != nil {
		return err
	}
	answered := 0
	rcs, err := discoro.NewRemoteCoroScheduler(comp, discoro.RCSConfig{
		Retries: 2,
		ProcAvailable: func(c *discoro.Coro, server discoro.Location) error { // an error: the server is not used
			coro, err := comp.RunAt(c, server, load.With(texts))
			if err != nil {
				return err
			}
			n, err := discoro.Result[int](c, coro)
			fmt.Printf("a server is set up: %d words of %d files\n", n, len(texts))
			return err
		},
		ProcClose: func(c *discoro.Coro, kind discoro.StatusKind, server discoro.Location) {
			if kind != discoro.ServerInitialized {
				return // it has closed: too late to clean up there
			}
			if coro, err := comp.RunAt(c, server, forget.With(discoro.None{})); err == nil {
				n, _ := discoro.Result[int](c, coro)
				answered += n // hooks are coroutines of this program: one has the turn at a time
			}
		},
	})
	if err != nil {
		return err
	}
	found, err := discoro.MapResults(ctx, rcs, find, slices.Values(words))
	if err := errors.Join(err, rcs.Finish(ctx, true)); err != nil {
		return err
	}
	for i, places := range found {
		total := 0
		for _, p := range places {
			total += p.Count
		}
		fmt.Printf("%q: %d times, files: %d\n", words[i], total, len(places))
	}
	fmt.Printf("the servers have answered %d questions from memory, and cleaned up\n", answered)
	return nil
}

// read reads the Go and text files below folder, or below the current folder if it is empty.
func read(folder string) (texts []Text, err error) {
	if folder == "" {
		folder = "."
	}
	err = filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !slices.Contains([]string{".go", ".txt"}, filepath.Ext(path)) {
			return err
		}
		content, err := os.ReadFile(path)
		texts = append(texts, Text{path, string(content)})
		return err
	})
	if err == nil && len(texts) == 0 {
		err = fmt.Errorf("no .go or .txt file below %s", folder)
	}
	return texts, err
}
