// Command scheduler hands the servers of a cluster to the computations of many clients, one after another.
//
//	go run ./examples/scheduler --tcp_port 7070
//
// Nodes have it among their peers (see ../node), or it has them: --node HOST:PORT. Clients give its location to
// Computation.Schedule. --help lists all options; on standard input it takes status, close, quit and terminate.
package main

import "github.com/discoro/discoro"

func main() { discoro.SchedulerMain() }
