// Command cloud has a client behind ssh, and a node with a public address.
//
// The servers cannot reach the client directly, and the node has another address for others than
// for itself. In asyncoro: discoro_ssh_ec2.py.
//
//	go run ./examples/cloud                            # all on this machine, with forwarders for ssh and the router
//
// The following uses a machine in a cloud, which others reach at HOST, and where port 51347 is
// open. Build the program once, copy it there, and set the same DISCORO_SECRET on both sides. ssh
// makes port 4567 of that machine a way to port 4567 of the client:
//
//	ssh -R 4567:127.0.0.1:4567 user@HOST               # from home, and in that terminal the node:
//	cloud node --ext_ip_addr HOST --tcp_port 51347 --tcp_ports 51348
//	cloud -listen 127.0.0.1:4567 -peers HOST:51347     # at home: the client
//
// The client dials the node. The servers of the node dial the client at the address that it
// announces, 127.0.0.1:4567, which ssh forwards. The servers listen at the ports from 51348 on.
// Only coroutines elsewhere that talk to coroutines of the servers need these ports. Where a router
// forwards a port to the client, no ssh is needed: the client listens at that port, and announces
// the address of the router with -ext-addr. The node has all options of NodeMain: cloud node --help
// lists them.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"math"
	"net"
	"os"
	"slices"
	"strconv"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/examples/internal/demo"
)

// Terms are the terms of a sum from From to below To.
type Terms struct{ From, To int }

// basel adds up 1/n², smallest first.
var basel = discoro.Register("cloud.basel", func(_ *discoro.Coro, t Terms) (sum float64, err error) {
	for n := t.To - 1; n >= t.From; n-- {
		sum += 1 / float64(n) / float64(n)
	}
	return sum, nil
})

func main() {
	discoro.Init() // a server process goes no further
	if len(os.Args) > 1 && os.Args[1] == "node" {
		os.Exit(node(os.Args[2:]))
	}
	var extAddr string
	demo.Main(&demo.Program{
		Name: "cloud",
		Flags: func(fs *flag.FlagSet) {
			fs.StringVar(&extAddr, "ext-addr", "", "the `HOST` by which others reach the client")
		},
		Check: func(opt *demo.Options) error {
			if cfg := opt.Config(); len(cfg.Peers) == 0 && (cfg.Addr != "" || cfg.TCPPort != 0 || extAddr != "") {
				return errors.New("-listen and -ext-addr need -peers: without, all is played on this machine")
			}
			return nil
		},
		Run: func(ctx context.Context, opt *demo.Options) error {
			cfg := opt.Config()
			if cfg.ExtAddr = extAddr; len(cfg.Peers) > 0 {
				return client(ctx, cfg)
			}
			return play(ctx)
		},
	})
}

// node is the node in the cloud.
func node(args []string) (code int) {
	err := discoro.RunNode(context.Background(), args)
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "cloud node:", err)
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		return coded.ExitCode()
	}
	return 1
}

// client is the client at home.
func client(ctx context.Context, cfg discoro.Config) error {
	sched, err := discoro.NewScheduler(discoro.SchedulerConfig{Config: cfg})
	if err != nil {
		return err
	}
	return errors.Join(compute(ctx, sched.Runtime), sched.Close())
}

func compute(ctx context.Context, rt *discoro.Runtime) error {
	const terms, step = 100_000_000, 10_000_000
	comp, err := discoro.NewComputation(rt)
	if err != nil {
		return err
	}
	rcs, err := discoro.NewRemoteCoroScheduler(comp)
	if err != nil {
		return err
	}
	var parts []Terms
	for n := 1; n <= terms; n += step {
		parts = append(parts, Terms{n, n + step})
	}
	sums, err := discoro.MapResults(ctx, rcs, basel, slices.Values(parts))
	if err := errors.Join(err, rcs.Finish(ctx, true)); err != nil {
		return err
	}
	total := 0.0
	for i := range sums {
		total += sums[len(sums)-1-i]
	}
	fmt.Printf("the sum of 1/n² is %.6f, after %d terms, and pi %.6f\n", total, terms, math.Sqrt(6*total))
	return nil
}

// play runs both machines on this one. Each is on loopback, and is reached through a forwarder only, at
// the same port of another address, which it announces.
func play(ctx context.Context) error {
	const home, cloud = "127.0.0.2", "127.0.0.3" // as the other side knows them
	cfg := discoro.Config{Addr: "127.0.0.1", Secret: rand.Text()}

	var node *discoro.Node
	router, err := forward(cloud, func(port int) (err error) {
		cfg := cfg
		cfg.ExtAddr, cfg.TCPPort = cloud, port
		node, err = discoro.NewNode(discoro.NodeConfig{Config: cfg, Servers: 2, Processes: true})
		return err
	})
	if err != nil {
		return err
	}
	var sched *discoro.Scheduler
	ssh, err := forward(home, func(port int) (err error) {
		cfg := cfg
		cfg.ExtAddr, cfg.TCPPort = home, port
		cfg.Peers = []string{net.JoinHostPort(cloud, strconv.Itoa(node.Location().Port))}
		sched, err = discoro.NewScheduler(discoro.SchedulerConfig{Config: cfg})
		return err
	})
	if err != nil {
		return errors.Join(err, node.Close(), router.close())
	}
	fmt.Printf("the client announces %s, the node %s\n", sched.Location().Addr, node.Location().Addr)
	err = compute(ctx, sched.Runtime)
	if err == nil {
		fmt.Printf("connections to the node through its router: %d; to the client through ssh: %d\n", router.connections(), ssh.connections())
	}
	return errors.Join(err, sched.Close(), node.Close(), ssh.close(), router.close())
}
