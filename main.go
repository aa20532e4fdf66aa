package discoro

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/discoro/discoro/internal/cli"
	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/internal/statelock"
	"github.com/discoro/discoro/wire"
)

// NodeMain is the main function of a program that is a node. The whole program is
//
//	func main() { discoro.NodeMain() }
//
// and the imports of the packages that register its functions. Its servers are processes of the
// same program: NodeMain calls [Init] itself. Do nothing before it that a server must not do.
// NodeMain does not return. In asyncoro: discoronode.
//
// Options come from the command line, from environment variables, DISCORO_ and the option's name in
// capitals, and from the file of --config, in this order of precedence. --help lists them, and
// [NodeConfig] says more about them. A secret does not have to be on the command line, where every
// user of the machine can read it: --secret_file names a file, and DISCORO_SECRET has it in the
// environment. A file that --save_config writes can be read by its owner only; it contains the
// secret if that was given as an option or in the file of --config.
//
// NodeMain prints to standard output how the node can be reached, and logs with [slog.Default];
// with --debug it logs everything to standard error. Standard output may be left unread: text that
// does not fit is dropped. Standard error must be read, or be a file. NodeMain reads commands from
// standard input, one a line, unless --daemon is given. At the end of the input the node continues.
// The commands are
//
//   - status: shows the servers, what they serve, and how many coroutines each has;
//   - close: ends the computation that is served, as [Node.CloseComputation] does;
//   - quit or exit: drains, as [Node.Drain] does;
//   - terminate: ends at once, as [Node.Close] does.
//
// SIGTERM and the first Ctrl-C drain. A second signal ends the node at once, unless it is the same
// signal within a fifth of a second, as some programs send a signal twice. With --daemon the end of
// the terminal (SIGHUP) does not end the node.
//
// Each user can run one such node of a name on a machine. A second one does not start, and its
// error says where the first one runs. With --phoenix the second node ends the first: it asks the
// first node to end at once, and kills it when that takes more than some seconds. A node that was
// killed leaves nothing behind that keeps another from starting.
//
// The exit code is 0 after an orderly end that was asked for, by a command, a signal, --serve,
// --save_config or --help; 1 when the node could not start or could not end in order; 2 for bad
// options; and 130 when a second signal ended the node at once, or a first one while it waited for
// another node to end.
func NodeMain() {
	Init()
	os.Exit(cli.ExitCode(RunNode(context.Background(), os.Args[1:])))
}

// RunNode is [NodeMain] for programs with subcommands. args are the options, without the program's
// name. RunNode blocks until the node has ended; the end of ctx ends it at once. Meanwhile it
// receives SIGINT and SIGTERM and, unless --daemon is among args, reads standard input: after
// RunNode has returned, one more line may be lost.
//
// The program must have called [Init] before anything else, as each server is this program,
// executed again without args, and becomes a server in Init. Otherwise RunNode returns an error. An
// error whose exit code is not 1 has a method ExitCode() int, like that of exec.ExitError.
func RunNode(ctx context.Context, args []string) error {
	if !initCalled.Load() {
		return errors.New("discoro: RunNode: main must call discoro.Init first, for server processes to become servers; " +
			"without it each would start a node of its own")
	}
	cfg := nodeOptions{NodeConfig: NodeConfig{Processes: true, Serve: -1}}
	flags, err := cli.Parse(cli.Program{
		About:  "A node of discoro: serves computations with the functions that this program has registered.",
		Config: &cfg, Common: &cfg.Common, Secret: &cfg.Secret,
	}, args)
	if flags == nil || err != nil {
		return err
	}
	cfg.Logger = flags.Logger()
	if err := cfg.check(); err != nil { // before another node is ended for this one
		return cli.Usage(&cfg, err)
	}
	signals := cli.Notify(cfg.Daemon)
	defer signals.Stop()
	lock, err := statelock.Acquire(ctx, statelock.Config{
		Name: cmp.Or(cfg.Name, defaultName()), Phoenix: cfg.Phoenix, Grace: defaultGrace + 2*closeGrace,
		Signals: signals.C(), Log: cfg.Logger,
	})
	if interrupted := (*statelock.InterruptError)(nil); errors.As(err, &interrupted) {
		return cli.WithCode(cli.Forced, err)
	} else if err != nil {
		return err
	}
	defer lock.Unlock()
	node, err := NewNode(cfg.NodeConfig)
	if err != nil {
		return cli.Usage(&cfg, err)
	}
	lock.Note(node.Location().String())
	return cli.Operate(ctx, &nodeRole{node}, cfg.Daemon, signals)
}

// SchedulerMain is the main function of a program that is a scheduler for many clients. The whole
// program is
//
//	func main() { discoro.SchedulerMain() }
//
// It needs none of the functions that computations run. SchedulerMain does not return. In asyncoro:
// discoro.py.
//
// Options come from the same places as those of [NodeMain]; --help lists them. The scheduler looks
// for nodes on the local network at the start, unless --discover_peers=false is given, and again at
// every ping_interval. A zombie_period of 0 means never; the default is [DefaultZombiePeriod].
// SchedulerMain reads commands from standard input, one a line, unless --daemon is given. At the
// end of the input the scheduler continues. The commands are
//
//   - status: shows the active computation, the queue in order, and the nodes with their servers;
//   - close: ends the active computation, after which the next one of the queue becomes active;
//   - quit or exit: accepts no new computations, and ends when the active one and those of the
//     queue have closed;
//   - terminate: ends at once: running work is terminated, and the nodes are free for other
//     schedulers.
//
// Signals and the exit code are those of [NodeMain]: SIGTERM and the first Ctrl-C are quit, a
// second one ends the scheduler at once.
func SchedulerMain() {
	os.Exit(cli.ExitCode(RunScheduler(context.Background(), os.Args[1:])))
}

// RunScheduler is [SchedulerMain] for programs with subcommands. It behaves as [RunNode] does, and
// does not need [Init].
func RunScheduler(ctx context.Context, args []string) error {
	cfg := schedulerOptions{SchedulerConfig: SchedulerConfig{ZombiePeriod: DefaultZombiePeriod}}
	flags, err := cli.Parse(cli.Program{
		About:  "A scheduler of discoro: gives the servers of its nodes to one computation after another.",
		Config: &cfg, Common: &cfg.Common, Secret: &cfg.Secret,
	}, args)
	if flags == nil || err != nil {
		return err
	}
	cfg.Logger = flags.Logger()
	if !flags.Given("discover_peers") {
		cfg.DiscoverPeers = cfg.UDPPort >= 0
	}
	signals := cli.Notify(cfg.Daemon)
	defer signals.Stop()
	cfg.ZombiePeriod = cmp.Or(cfg.ZombiePeriod, -1) // 0 is the default in SchedulerConfig
	s, err := NewScheduler(cfg.SchedulerConfig)
	if err != nil {
		return cli.Usage(&cfg, err)
	}
	return cli.Operate(ctx, &schedulerRole{s}, cfg.Daemon, signals)
}

// nodeOptions and schedulerOptions have a field for each option of the two programs.
type (
	nodeOptions struct {
		NodeConfig
		cli.Common
	}
	schedulerOptions struct {
		SchedulerConfig
		cli.Common
	}
)

// schedulerRole is a scheduler as its operator sees it.
type schedulerRole struct{ *Scheduler }

func (r *schedulerRole) Banner() string {
	return fmt.Sprintf("scheduler %s at %v, id %x\n%s", r.Name(), r.Location(), r.id[:4], r.protection())
}

func (r *schedulerRole) Leave()                { r.loop.leave() }
func (r *schedulerRole) Left() <-chan struct{} { return r.loop.left }

func (r *schedulerRole) CloseActive(closed func()) {
	r.loop.closeActive(closed)
}

// Status shows what the scheduler knows.
func (r *schedulerRole) Status(context.Context) string {
	text := r.loop.describe()
	return fmt.Sprintf("scheduler %s at %v\n%s", r.Name(), r.Location(), text)
}

// nodeRole is a node as its operator sees it.
type nodeRole struct{ *Node }

func (r *nodeRole) Banner() string {
	cfg := &r.loop.cfg
	kind := "in this process"
	if cfg.Processes {
		kind = "processes"
	}
	b := fmt.Sprintf("node %s at %v, id %x, servers: %d, %s\n", r.Name(), r.Location(), r.rt.id[:4], cfg.count, kind)
	return b + r.rt.protection() + "\n" + functionList()
}

// protection says how the runtime's links are protected, and which machines may reach it.
func (rt *Runtime) protection() string {
	cfg := &rt.cfg
	switch {
	case cfg.Secret != "":
		return "links are protected by a secret"
	case cfg.TLS != nil || cfg.CertFile != "":
		return "links are protected by certificates"
	case cfg.reachable:
		return "links are not protected (insecure): anyone who reaches the port can run functions"
	}
	return "links are not protected: only this machine can reach it; for others give both sides a secret"
}

// functionList lists the functions that this program has registered.
func functionList() string {
	names := registry.names()
	if len(names) == 0 {
		return "functions: none; the program must import the packages that register them"
	}
	return "functions: " + strings.Join(names, ", ")
}

func (r *nodeRole) Leave()                { r.loop.do((*nodeLoop).leave) }
func (r *nodeRole) Left() <-chan struct{} { return r.loop.left }

func (r *nodeRole) CloseActive(closed func()) {
	r.loop.do(func(l *nodeLoop) {
		l.onFree(closed)
		l.release("closed at the node", true)
	})
}

// slotStatus is what is known of one server.
type slotStatus struct {
	name, location, state string
	link                  *link.Link // nil: it is not up
}

// Status shows what the node does, and its servers.
func (r *nodeRole) Status(ctx context.Context) string {
	var slots []slotStatus
	var b strings.Builder
	r.loop.do(func(l *nodeLoop) {
		fmt.Fprintf(&b, "node %s at %v: %s; computations served: %d\n", r.Name(), r.Location(), l.describe(), l.served)
		for _, s := range l.slots {
			slots = append(slots, l.slotStatus(s))
		}
	})
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "server\tlocation\tcoroutines\tstate")
	for _, s := range slots {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", s.name, s.location, s.tally(ctx, r.loop.rt), s.state)
	}
	_ = w.Flush() // into memory
	return b.String()
}

// describe says what the node does now.
func (l *nodeLoop) describe() string {
	what := "free"
	if v := l.serving; v != nil {
		what = fmt.Sprintf("serves computation %x of %v", v.reserve.Token[:4], peerLocation(v.reserve.Client))
		if v.releasing {
			what += ", which is closing"
		}
	}
	if away := l.away(); away != "" {
		what += ", takes nothing new: " + away
	}
	return what
}

// slotStatus says what a server does now.
func (l *nodeLoop) slotStatus(s *serverSlot) slotStatus {
	st := slotStatus{name: fmt.Sprint(s.index + 1), location: "-", state: "starting"}
	switch {
	case s.stopping || s.killedFor != "":
		st.state = "ending"
	case s.isUp() && s.closed, s.isUp() && s.setUp && l.serving.releasing:
		st.state = "closing its computation"
	case s.isUp() && s.setUp:
		st.state = "serving"
	case s.isUp():
		st.state = "free"
	case s.host == nil && l.draining:
		st.state = "ended"
	case s.host == nil:
		st.state = "waiting to be restarted"
	}
	if s.isUp() {
		st.link, st.location = s.link, peerLocation(s.info.Peer).String()
	}
	return st
}

// tally asks a server how many coroutines it has.
func (s *slotStatus) tally(ctx context.Context, rt *Runtime) string {
	if s.link == nil {
		return "-"
	}
	out, err := s.link.Request(ctx, waitTally, nil, func(call uint64) wire.Frame { return &wire.Tally{Call: call} })
	if err = cmp.Or(err, out.Err); err != nil {
		return "unknown"
	}
	n, err := resultAs[int](rt, out, "tally")
	if err != nil {
		return "unknown"
	}
	return fmt.Sprint(n)
}
