package demo

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/discoro/discoro"
)

// Options are the flags that all examples have.
type Options struct {
	Peers  []string // host:port
	Secret string
	Arg    string // what followed the flags

	node    bool
	peers   string
	listen  string
	host    string // from listen
	port    int    // from listen
	servers int
	alone   bool
	timeout time.Duration
}

// bind declares the flags of the program.
func (p *Program) bind(fs *flag.FlagSet) *Options {
	opt := &Options{}
	peers, listen := "`HOST:PORT` of those to connect to; more than one with commas", "`HOST:PORT` where others connect; port 0: any"
	if p.Work != nil {
		peers = "with -node, `HOST:PORT` of those to serve; without, of the nodes to use, and then none is started here; more than one with commas"
		listen = "`HOST:PORT` where nodes may join, or, with -node, where the node is reached; port 0: any"
		fs.BoolVar(&opt.node, "node", false, "be a node, until Ctrl-C")
		fs.IntVar(&opt.servers, "servers", p.Servers, "server processes on this machine; 0: one a CPU")
		fs.BoolVar(&opt.alone, "no-servers", false, "start none on this machine: wait for nodes to join")
	}
	timeout := p.Timeout
	if timeout == 0 {
		timeout = time.Minute
	}
	fs.StringVar(&opt.peers, "peers", "", peers)
	fs.StringVar(&opt.listen, "listen", "", listen)
	fs.StringVar(&opt.Secret, "secret", "", "protects the links; DISCORO_SECRET does the same, and does not show in the process list")
	fs.DurationVar(&opt.timeout, "timeout", timeout, "the deadline of the whole program")
	if p.Flags != nil {
		p.Flags(fs)
	}
	return opt
}

// check parses the values of the flags, and rejects those that make no sense, alone or together.
func (opt *Options) check(p *Program, fs *flag.FlagSet) error {
	opt.Arg = fs.Arg(0)
	if opt.Secret == "" {
		opt.Secret = os.Getenv("DISCORO_SECRET")
	}
	switch {
	case opt.node && opt.peers == "" && opt.listen == "":
		return errors.New("-node needs -peers or -listen")
	case opt.node && opt.alone:
		return errors.New("-no-servers does not go with -node")
	case fs.NArg() > 0 && (opt.node || p.Arg == ""), fs.NArg() > 1:
		return fmt.Errorf("too many arguments: %q", fs.Args())
	case !opt.node && opt.peers != "" && (opt.alone || isSet(fs, "servers")):
		return errors.New("-servers and -no-servers do not go with -peers: the nodes there have servers")
	case opt.servers < 0 || opt.timeout <= 0:
		return errors.New("-servers must not be negative, -timeout must be positive")
	}
	if opt.peers != "" {
		opt.Peers = strings.Split(opt.peers, ",")
	}
	for _, peer := range opt.Peers {
		if _, err := discoro.ParseLocation(peer); err != nil {
			return fmt.Errorf("-peers: %w", err)
		}
	}
	return opt.checkListen()
}

func isSet(fs *flag.FlagSet, name string) bool {
	found := false
	fs.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}

func (opt *Options) checkListen() error {
	if opt.listen == "" {
		return nil
	}
	host, text, err := net.SplitHostPort(opt.listen)
	if err != nil {
		return fmt.Errorf("-listen %q: want HOST:PORT", opt.listen)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return fmt.Errorf("-listen %q: the port must be a number from 0 to 65535", opt.listen)
	}
	opt.host, opt.port = host, int(port)
	return nil
}

// Config returns the configuration of a runtime that the flags ask for.
func (opt *Options) Config() discoro.Config {
	return discoro.Config{Addr: opt.host, TCPPort: opt.port, Peers: opt.Peers, Secret: opt.Secret}
}
