// Command wordcount counts words with every CPU of this machine, and of others that join.
//
// It counts the words of every .go file below a folder. It is the smallest whole job for discoro.
//
//	go run ./examples/wordcount                          # this machine, the Go source tree
//	go run ./examples/wordcount FOLDER
//	go run ./examples/wordcount -listen 127.0.0.1:7070   # and nodes that join from other terminals:
//	go run ./examples/wordcount -node -peers 127.0.0.1:7070
//
// Between machines, give both sides the same -secret, or DISCORO_SECRET.
package main

import (
	"context"
	"flag"
	"time"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/examples/internal/demo"
)

func main() {
	discoro.Init() // a server process goes no further
	var retries uint
	demo.Main(&demo.Program{
		Name:    "wordcount",
		Arg:     "[folder]",
		Timeout: 10 * time.Minute,
		Flags: func(fs *flag.FlagSet) {
			fs.UintVar(&retries, "retries", 3, "how often a batch is counted again whose server was lost")
		},
		Work: func(ctx context.Context, sched *discoro.Scheduler, folder string) error {
			return count(ctx, sched.Runtime, folder, int(min(retries, 1<<20)))
		},
	})
}
