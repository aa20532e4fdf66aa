package discoro

import (
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/discoro/discoro/internal/hours"
)

// NodeConfig configures a [Node].
type NodeConfig struct {
	Config
	// Servers is how many servers the node has: that many when positive; one a CPU when 0; one a CPU but for that many
	// when negative. CPUs are what GOMAXPROCS says: those that this process may run on, and on Linux no more than its control
	// group's quota, of which it makes two at least.
	Servers int `json:"c"`
	// Processes makes each server a process of its own: this program, executed anew. Its main must then call [Init]
	// first. Without it the servers are runtimes in this process.
	Processes bool `json:"-"`
	// TCPPorts are the ports that the servers listen on, in order: "3799", or "2345-2347", which is three. When there are more
	// servers, they go on beyond the highest, leaving out TCPPort. A server that is replaced keeps its port. One whose
	// port is taken does not start, is tried again, and the log says so. Empty: any free ports.
	TCPPorts []string `json:"tcp_ports"`
	// MinPulseInterval and MaxPulseInterval are the least and the most that a computation's PulseInterval may be here;
	// 0: the constants [MinPulseInterval] and [MaxPulseInterval].
	MinPulseInterval time.Duration `json:"min_pulse_interval"`
	MaxPulseInterval time.Duration `json:"max_pulse_interval"`
	// ZombiePeriod is how long a computation may run nothing here, and send no file, before the node closes it, so that another may use
	// the node; 0: for ever. The servers close as they do in [Node.Drain]: a client that does not answer holds them as long as there.
	ZombiePeriod time.Duration `json:"zombie_period"`
	// Serve is how many computations the node serves before it drains and closes: [Node.Wait] then returns. 0 or less:
	// no limit.
	Serve int `json:"serve"`
	// ServiceStart, ServiceStop and ServiceEnd are times of day, "HH:MM", local time, between which the node serves. New
	// computations are taken from start to stop; at the end the one that is served is closed, and what it runs
	// here terminated; a client that does not answer holds the servers as long as in [Node.Drain]. Start defaults to when the node starts; stop or end must be given with it, and each stands for
	// the other. A time before start is one of the next day. All empty: always.
	ServiceStart string `json:"service_start"`
	ServiceStop  string `json:"service_stop"`
	ServiceEnd   string `json:"service_end"`
	// Phoenix makes [NodeMain] and [RunNode] end a node of the same name that the same user runs on this machine, and take
	// its place, where they would refuse to start. [NewNode] takes no notice of it: many nodes of a name may live in a process.
	Phoenix bool `json:"phoenix"`
}

// settledNode is a NodeConfig with every default filled in and everything but Config checked.
type settledNode struct {
	NodeConfig

	count int         // of servers
	ports []int       // one a server; 0: any
	hours hours.Hours // of service
}

// settle checks cfg and fills in defaults; it is the one place where a NodeConfig is checked, but for its Config.
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
		return s, errors.New("discoro: NodeConfig: TLS cannot be given to server processes; use CertFile, KeyFile and CAFile, or no Processes")
	}
	if cfg.Processes && cfg.tuning.host != nil {
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

// errNoInit is what comes of server processes without Init.
var errNoInit = errors.New("discoro: NodeConfig.Processes: main must call discoro.Init first, " +
	"for server processes to become servers; without it each would start a node of its own")

// badNode is the error of one field.
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

// maxServers bounds what a slip of the hand can start.
const maxServers = 10_000

// serverCount says how many servers a node has.
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
