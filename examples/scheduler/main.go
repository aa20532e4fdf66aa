// Command scheduler is the scheduler of a cluster, to be copied: it serves many clients in turn.
//
//	go run ./examples/scheduler --tcp_port 7070
//
// It gives the servers of its nodes to one computation after another. Nodes have it among their
// peers (see example node), or it has the nodes: --node HOST:PORT. Clients give its location to
// Computation.Schedule. The option --help lists all options. On standard input it takes status,
// close, quit and terminate.
package main

import "github.com/discoro/discoro"

func main() { discoro.SchedulerMain() }
