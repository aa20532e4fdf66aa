// Command node is a node of a cluster, to be copied: it serves computations with its functions.
//
//	go run ./examples/scheduler --tcp_port 7070                  # on one machine
//	go run ./examples/node --peer HOST:7070                      # on each machine
//
// Between machines give both programs the same secret, with --secret_file or in DISCORO_SECRET. The
// option --help lists all options. On standard input it takes status, close, quit and terminate.
//
// For a cluster of your own, copy this file, and import the packages that register your functions:
// import _ "example.com/yours/jobs". Clients import the same packages, and call the functions. A
// node whose program lacks a function of a computation is not used, and the client gets the reason.
package main

import (
	"fmt"
	"os"

	"github.com/discoro/discoro"
)

// Hello greets from the machine where it runs.
var Hello = discoro.Register("example.hello", func(_ *discoro.Coro, who string) (string, error) {
	host, err := os.Hostname()
	return fmt.Sprintf("hello %s, from process %d at %s", who, os.Getpid(), host), err
})

func main() { discoro.NodeMain() }
