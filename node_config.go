package discoro

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/discoro/discoro/internal/hours"
)

// NodeConfig configures a [Node].
type NodeConfig struct {
	Config
	// Servers is the number of servers. 0: one for each CPU; less than 0: one for each CPU, less that
	// many. The number of CPUs is GOMAXPROCS: those that this process may use, and on Linux no more
	// than the quota of its control group, but at least two.
	Servers int `json:"c"`
	// Processes makes each server a process of its own: this program, executed again. Its main must
	// then call [Init] first. Otherwise the servers are runtimes in this process.
	Processes bool `json:"-"`
	// TCPPorts are the ports that the servers listen on, in order: "3799", or "2345-2347" for three of
	// them. Further servers use the ports after the highest one, except TCPPort. A server that
	// replaces another one has the same port. A server whose port is taken does not start; the node
	// logs that and tries again. Empty: any free ports.
	TCPPorts []string `json:"tcp_ports"`
	// MinPulseInterval and MaxPulseInterval limit the PulseInterval of computations that this node
	// serves. 0: the constants [MinPulseInterval] and [MaxPulseInterval].
	MinPulseInterval time.Duration `json:"min_pulse_interval"`
	MaxPulseInterval time.Duration `json:"max_pulse_interval"`
	// ZombiePeriod is how long a computation may run nothing here and send no file before the node
	// closes it, so that another one can use the node. 0: for ever. The servers close as they do in
	// [Node.Drain], where a client that does not answer keeps them for some time.
	ZombiePeriod time.Duration `json:"zombie_period"`
	// Serve is how many computations the node serves before it drains and closes, after which
	// [Node.Wait] returns. 0 or less: no limit.
	Serve int `json:"serve"`
	// ServiceStart, ServiceStop and ServiceEnd are the hours of service: times of day, "HH:MM", in
	// local time. The node accepts new computations from start to stop. At the end it closes the
	// computation that it serves, and terminates what runs here; a client that does not answer keeps
	// the servers as long as in [Node.Drain]. The default of start is the time at which the node
	// starts. Stop or end must be set with it, and each is the default of the other. A time before
	// start is one of the next day. All empty: always.
	ServiceStart string `json:"service_start"`
	ServiceStop  string `json:"service_stop"`
	ServiceEnd   string `json:"service_end"`
	// Phoenix makes [NodeMain] and [RunNode] end a node of the same name that the same user runs on
	// this machine, and take its place. Without it they would not start beside that node. [NewNode]
	// ignores Phoenix: one process may have many nodes of one name.
	Phoenix bool `json:"phoenix"`
}

// settledNode is a NodeConfig with its defaults filled in. All of it has been checked, except its
// Config.
type settledNode struct {
	NodeConfig

	count int   // number of servers
	ports []int // one for each server; 0: any free port
	hours hours.Hours
}

// settle checks cfg and fills in the defaults. This is the only place where a NodeConfig is
// checked, except its Config.
func (cfg NodeConfig) settle() (settledNode, error) {
	s := settledNode{NodeConfig: cfg}
	if s.now == nil {
		s.now = time.Now
	}
	var err error
	if s.count, err = serverCount(cfg.Servers); err != nil {
		return s, err
	}
	if s.ports, err = serverPorts(cfg.TCPPorts, s.count, cfg.TCPPort); err != nil {
		return s, badNode("TCPPorts", "%w", err)
	}
	var field string
	if s.hours, field, err = hours.Parse(cfg.ServiceStart, cfg.ServiceStop, cfg.ServiceEnd, s.now()); err != nil {
		return s, badNode(field, "%w", err)
	}
	if err := s.settlePulses(); err != nil {
		return s, err
	}
	if cfg.Processes && !initCalled.Load() {
		return s, errNoInit
	}
	if cfg.Processes && cfg.TLS != nil {
		return s, errors.New("discoro: NodeConfig: TLS cannot be given to server processes; " +
			"use CertFile, KeyFile and CAFile, or no Processes")
	}
	if cfg.Processes && cfg.host != nil {
		return s, errors.New("discoro: NodeConfig: server processes cannot be in a network of a test: leave out Processes")
	}
	return s, nil
}

// check checks everything that can be checked without starting the node.
func (cfg NodeConfig) check() error {
	if _, err := cfg.settle(); err != nil {
		return err
	}
	s := settled{Config: cfg.Config}
	if err := s.checkFields(); err != nil {
		return err
	}
	_, err := s.certificates()
	return err
}

// errNoInit is the error of server processes in a program that has not called Init.
var errNoInit = errors.New("discoro: NodeConfig.Processes: main must call discoro.Init first, " +
	"for server processes to become servers; without it each would start a node of its own")

// badNode returns the error of one field of a NodeConfig.
func badNode(field, format string, args ...any) error {
	return &fieldError{"NodeConfig", field, fmt.Errorf(format, args...)}
}

// settlePulses checks the intervals and fills in their defaults.
func (s *settledNode) settlePulses() error {
	switch {
	case s.MinPulseInterval < 0:
		return badNode("MinPulseInterval", "%v is negative", s.MinPulseInterval)
	case s.MaxPulseInterval < 0:
		return badNode("MaxPulseInterval", "%v is negative", s.MaxPulseInterval)
	case s.ZombiePeriod < 0:
		return badNode("ZombiePeriod", "%v is negative; 0 is no limit", s.ZombiePeriod)
	}
	s.MinPulseInterval = cmp.Or(s.MinPulseInterval, s.pulse, MinPulseInterval)
	s.MaxPulseInterval = cmp.Or(s.MaxPulseInterval, MaxPulseInterval)
	if s.MinPulseInterval > s.MaxPulseInterval {
		return badNode("MinPulseInterval", "%v is more than MaxPulseInterval, %v", s.MinPulseInterval, s.MaxPulseInterval)
	}
	return nil
}

// maxServers limits what a typing error can start.
const maxServers = 10_000

// serverCount returns the number of servers for NodeConfig.Servers.
func serverCount(n int) (int, error) {
	cpus := runtime.GOMAXPROCS(0)
	switch {
	case n > maxServers:
		return 0, badNode("Servers", "%d is more than %d", n, maxServers)
	case n > 0:
		return n, nil
	case cpus+n > 0:
		return cpus + n, nil
	}
	return 0, badNode("Servers", "%d leaves none of the %d CPUs", n, cpus)
}

// maxPort is the highest TCP port.
const maxPort = 65535

// serverPorts returns the port of each of count servers: those of list in order, then those after
// the highest of them, except own, the node's port. With an empty list each is 0: any free port.
func serverPorts(list []string, count, own int) ([]int, error) {
	if len(list) == 0 {
		return make([]int, count), nil
	}
	var ports []int
	for _, text := range list {
		low, high, err := parsePorts(text)
		if err != nil {
			return nil, err
		}
		for p := low; p <= high; p++ {
			switch {
			case p == own:
				return nil, fmt.Errorf("%d is the node's own TCPPort", p)
			case slices.Contains(ports, p):
				return nil, fmt.Errorf("%d is there twice", p)
			}
			ports = append(ports, p)
		}
	}
	for p := slices.Max(ports) + 1; len(ports) < count; p++ {
		if p > maxPort {
			return nil, fmt.Errorf("%q are too few for %d servers, and there are none beyond %d", list, count, maxPort)
		}
		if p != own {
			ports = append(ports, p)
		}
	}
	return ports[:count], nil
}

// parsePorts parses "N" or "LOW-HIGH".
func parsePorts(text string) (low, high int, err error) {
	first, last, isRange := strings.Cut(strings.TrimSpace(text), "-")
	if !isRange {
		last = first
	}
	low, errLow := parsePort(first)
	high, errHigh := parsePort(last)
	if err := errors.Join(errLow, errHigh); err != nil || low > high {
		return 0, 0, fmt.Errorf("%.40q is neither a port nor a range of ports: want N or LOW-HIGH, from 1 to %d",
			text, maxPort)
	}
	return low, high, nil
}

func parsePort(text string) (int, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 16)
	if err == nil && n == 0 {
		err = strconv.ErrRange
	}
	return int(n), err
}

// portFree returns an error when a server cannot listen on its port. The node asks before it starts
// the server, as a server process could not report that. node is the address that the node listens
// at, which spares looking up its name.
func portFree(node net.Addr, port int) error {
	host, _, err := net.SplitHostPort(node.String())
	if port == 0 || err != nil {
		return err
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return fmt.Errorf("port %d of TCPPorts cannot be listened on: %w", port, err)
	}
	return ln.Close()
}
