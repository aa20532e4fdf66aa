// Command wordcount counts the words of every .go file below a folder, on every CPU of this machine and of others that
// join: the smallest whole job for discoro.
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
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/discoro/discoro"
)

// options are the program's flags.
type options struct {
	node    bool
	peers   string
	listen  string
	secret  string
	servers int
	alone   bool
	retries int
	timeout time.Duration
	folder  string
}

func main() {
	discoro.Init() // a server process goes no further
	opt, err := parseFlags(os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	case err != nil:
		fail(2, err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once; its servers notice
	if opt.node {
		err = runNode(ctx, opt)
	} else {
		err = count(ctx, opt)
	}
	switch {
	case err == nil:
	case ctx.Err() != nil:
		fail(1, errors.New("interrupted"))
	default:
		fail(1, err)
	}
}

// fail ends the program with one line that says why.
func fail(code int, err error) {
	fmt.Fprintln(os.Stderr, "wordcount:", strings.ReplaceAll(err.Error(), "\n", "; "))
	os.Exit(code)
}

func parseFlags(args []string) (options, error) {
	var opt options
	fs := flag.NewFlagSet("wordcount", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.BoolVar(&opt.node, "node", false, "be a node: serve the wordcount at -peers, until Ctrl-C")
	fs.StringVar(&opt.peers, "peers", "", "`HOST:PORT` of the wordcount to serve, with -node; more than one with commas")
	fs.StringVar(&opt.listen, "listen", "", "`HOST:PORT` where nodes may join")
	fs.StringVar(&opt.secret, "secret", "", "protects the links; DISCORO_SECRET does the same, and does not show in the process list")
	fs.IntVar(&opt.servers, "servers", 0, "server processes on this machine; 0: one a CPU")
	fs.BoolVar(&opt.alone, "no-servers", false, "start none on this machine: wait for nodes to join")
	fs.IntVar(&opt.retries, "retries", 3, "how often a batch is counted again whose server was lost")
	fs.DurationVar(&opt.timeout, "timeout", 10*time.Minute, "the deadline of the whole count")
	err := fs.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Println("usage: wordcount [flags] [folder]\n       wordcount -node -peers HOST:PORT [flags]")
		fs.SetOutput(os.Stdout)
		fs.PrintDefaults()
		return opt, err
	}
	if err == nil {
		err = opt.check(fs)
	}
	if err != nil {
		return opt, fmt.Errorf("%w (wordcount -h lists the flags)", err)
	}
	if opt.secret == "" {
		opt.secret = os.Getenv("DISCORO_SECRET")
	}
	opt.folder = fs.Arg(0)
	return opt, nil
}

// check finds flags that make no sense, or not together.
func (opt *options) check(fs *flag.FlagSet) error {
	switch {
	case opt.node && opt.peers == "":
		return errors.New("-node needs -peers")
	case !opt.node && opt.peers != "":
		return errors.New("-peers goes with -node")
	case opt.node && (opt.listen != "" || opt.alone):
		return errors.New("-listen and -no-servers do not go with -node")
	case opt.node && fs.NArg() > 0, fs.NArg() > 1:
		return fmt.Errorf("too many arguments: %q", fs.Args())
	case opt.servers < 0 || opt.retries < 0 || opt.timeout <= 0:
		return errors.New("-servers and -retries must not be negative, -timeout must be positive")
	}
	for _, peer := range opt.peerList() {
		if _, err := discoro.ParseLocation(peer); err != nil {
			return fmt.Errorf("-peers: %w", err)
		}
	}
	if opt.listen != "" {
		if _, _, err := opt.listenAddr(); err != nil {
			return fmt.Errorf("-listen %q: want HOST:PORT", opt.listen)
		}
	}
	return nil
}

func (opt *options) peerList() []string {
	if opt.peers == "" {
		return nil
	}
	return strings.Split(opt.peers, ",")
}

// listenAddr takes -listen apart; port 0 is any free one.
func (opt *options) listenAddr() (host string, port int, err error) {
	host, text, err := net.SplitHostPort(opt.listen)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(text, 10, 16)
	return host, int(n), err
}

// runNode serves until ctx ends.
func runNode(ctx context.Context, opt options) error {
	node, err := discoro.NewNode(discoro.NodeConfig{
		Config:    discoro.Config{Peers: opt.peerList(), Secret: opt.secret},
		Servers:   opt.servers,
		Processes: true,
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "node %v serves %s; Ctrl-C ends it\n", node.Location(), opt.peers)
	<-ctx.Done()
	return node.Close()
}

// startCluster starts a scheduler and, unless told otherwise, a node in this program.
func startCluster(opt options) (sched *discoro.Scheduler, stop func() error, err error) {
	cfg := discoro.Config{Secret: opt.secret}
	if opt.listen != "" {
		if cfg.Addr, cfg.TCPPort, err = opt.listenAddr(); err != nil {
			return nil, nil, err
		}
	}
	sched, err = discoro.NewScheduler(discoro.SchedulerConfig{Config: cfg})
	if err != nil {
		return nil, nil, err
	}
	if opt.listen != "" {
		fmt.Fprintf(os.Stderr, "nodes may join: wordcount -node -peers %v\n", sched.Location())
	}
	if opt.alone {
		return sched, sched.Close, nil
	}
	node, err := discoro.NewNode(discoro.NodeConfig{
		Config:    discoro.Config{Peers: []string{sched.Location().String()}, Secret: opt.secret},
		Servers:   opt.servers,
		Processes: true,
	})
	if err != nil {
		return nil, nil, errors.Join(err, sched.Close())
	}
	return sched, func() error { return errors.Join(node.Close(), sched.Close()) }, nil
}
