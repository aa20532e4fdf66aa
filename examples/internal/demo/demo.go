// Package demo is what the examples have in common: their flags, the scheduler and node that each of them starts for
// itself, and how they end. What an example is about is in its own file.
package demo

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/discoro/discoro"
)

// Program is an example. It has either Work or Run.
type Program struct {
	Name string
	Arg  string // what one argument may follow the flags, for the usage; empty: none
	// Servers is the number of servers unless a flag says otherwise; 0: one a CPU.
	Servers int
	// Timeout bounds the whole program unless a flag says otherwise; 0: a minute.
	Timeout time.Duration
	// Flags adds flags that only the example has.
	Flags func(fs *flag.FlagSet)
	// Check returns an error if the flags are wrong in a way that only the example knows.
	Check func(opt *Options) error
	// Work is the client of a private scheduler. The flags say whether the servers are processes of a
	// node in this program, or are at nodes elsewhere. Everything is closed when Work returns.
	Work func(ctx context.Context, sched *discoro.Scheduler, arg string) error
	// Run is for examples that need no servers or start them. They have only the flags -listen, -peers,
	// -secret and -timeout.
	Run func(ctx context.Context, opt *Options) error
}

// Main runs the program and ends the process. The exit code is 0 when all went well, 2 when the flags
// were wrong, 130 after Ctrl-C, and 1 otherwise, with one line that says why. The caller has called
// discoro.Init before.
func Main(p *Program) {
	opt, err := p.parse(os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	case err != nil:
		p.fail(2, fmt.Errorf("%w (%s -h lists the flags)", err, p.Name))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once; its servers notice
	err = p.run(ctx, opt)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		p.fail(130, errors.New("interrupted"))
	case errors.Is(err, discoro.ErrNotRegistered):
		p.fail(1, fmt.Errorf("%w\nthe nodes must be of this program: %s -node -listen HOST:PORT", err, p.Name))
	default:
		p.fail(1, err)
	}
}

// fail prints the first and the last of many errors.
func (p *Program) fail(code int, err error) {
	lines := strings.Split(err.Error(), "\n")
	if more := len(lines) - 3; more > 1 {
		lines = slices.Replace(lines, 2, len(lines)-1, fmt.Sprintf("and %d more", more))
	}
	fmt.Fprintf(os.Stderr, "%s: %s\n", p.Name, strings.Join(lines, "; "))
	os.Exit(code)
}

func (p *Program) parse(args []string) (*Options, error) {
	fs := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	opt := p.bind(fs)
	err := fs.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		p.usage(fs)
	}
	if err == nil {
		err = opt.check(p, fs)
	}
	if err == nil && p.Check != nil {
		err = p.Check(opt)
	}
	return opt, err
}

func (p *Program) usage(fs *flag.FlagSet) {
	fmt.Println(strings.TrimSpace("usage: " + p.Name + " [flags] " + p.Arg))
	if p.Work != nil {
		fmt.Println("       " + p.Name + " -node -peers HOST:PORT [flags]    serve one that has -listen HOST:PORT")
		fmt.Println("       " + p.Name + " -node -listen HOST:PORT [flags]   serve those that have -peers HOST:PORT")
	}
	fs.SetOutput(os.Stdout)
	fs.PrintDefaults()
}

func (p *Program) run(ctx context.Context, opt *Options) error {
	if opt.node {
		return p.serve(ctx, opt)
	}
	ctx, cancel := context.WithTimeout(ctx, opt.timeout)
	defer cancel()
	if p.Run != nil {
		return p.Run(ctx, opt)
	}
	sched, stop, err := p.start(opt)
	if err != nil {
		return err
	}
	err = p.Work(ctx, sched, opt.Arg)
	return errors.Join(err, stop())
}

// serve is a node until ctx ends.
func (p *Program) serve(ctx context.Context, opt *Options) error {
	node, err := discoro.NewNode(discoro.NodeConfig{Config: opt.Config(), Servers: opt.servers, Processes: true})
	if err != nil {
		return err
	}
	if len(opt.Peers) > 0 {
		fmt.Fprintf(os.Stderr, "node %v serves %s; Ctrl-C ends it\n", node.Location(), strings.Join(opt.Peers, ","))
	} else {
		fmt.Fprintf(os.Stderr, "node serves: %s -peers %v ; Ctrl-C ends it\n", p.Name, node.Location())
	}
	<-ctx.Done()
	return node.Close()
}

// start starts a scheduler and, unless the servers are elsewhere, a node in this program.
func (p *Program) start(opt *Options) (sched *discoro.Scheduler, stop func() error, err error) {
	sched, err = discoro.NewScheduler(discoro.SchedulerConfig{Config: opt.Config()})
	if err != nil {
		return nil, nil, err
	}
	if opt.listen != "" {
		fmt.Fprintf(os.Stderr, "nodes may join: %s -node -peers %v\n", p.Name, sched.Location())
	}
	if opt.alone || len(opt.Peers) > 0 {
		return sched, sched.Close, nil
	}
	node, err := discoro.NewNode(discoro.NodeConfig{
		Config:    discoro.Config{Peers: []string{sched.Location().String()}, Secret: opt.Secret},
		Servers:   opt.servers,
		Processes: true,
	})
	if err != nil {
		return nil, nil, errors.Join(err, sched.Close())
	}
	return sched, func() error { return errors.Join(node.Close(), sched.Close()) }, nil
}
