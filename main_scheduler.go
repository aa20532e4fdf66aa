package discoro

import (
	"cmp"
	"context"
	"fmt"
	"os"
)

// SchedulerMain is the main function of a program that is a scheduler for many clients: the whole of it is
//
//	func main() { discoro.SchedulerMain() }
//
// It needs none of the functions that computations run. In asyncoro: discoro.py. It does not return.
//
// Options come from where those of [NodeMain] come from; --help lists them. It looks for nodes on the local network
// when it starts, unless --discover_peers=false is given, and again at every ping_interval. A zombie_period of 0 is none; its default is
// [DefaultZombiePeriod]. Commands are read from standard input, a line each, unless --daemon is given; at its
// end the scheduler goes on:
//
//   - status shows the active computation, the queue in order, and the nodes with their servers;
//   - close ends the active computation, and the next of the queue has its turn;
//   - quit or exit takes no new computations, and ends when the active one and those of the queue have closed;
//   - terminate ends at once: what runs is terminated, and nodes are free for others.
//
// Signals and the exit code are those of [NodeMain]: SIGTERM and the first Ctrl-C are quit, another ends at once.
func SchedulerMain() { os.Exit(exitCode(RunScheduler(context.Background(), os.Args[1:]))) }

// RunScheduler is [SchedulerMain] for programs that are more than a scheduler; what is said of [RunNode] holds, but that it
// needs no [Init].
func RunScheduler(ctx context.Context, args []string) error {
	cfg := struct {
		SchedulerConfig
		commonOptions
	}{SchedulerConfig: SchedulerConfig{ZombiePeriod: DefaultZombiePeriod}}
	p, err := readOptions(&cfg, &cfg.Config, &cfg.commonOptions, args, "A scheduler of discoro: hands the servers of its nodes to one computation after another.")
	if p == nil || err != nil {
		return err
	}
	if p.source("discover_peers") == fromDefault {
		cfg.DiscoverPeers = cfg.UDPPort >= 0
	}
	signals, stop := endSignals(cfg.Daemon)
	defer stop()
	cfg.ZombiePeriod = cmp.Or(cfg.ZombiePeriod, -1) // there 0 is the default
	s, err := NewScheduler(cfg.SchedulerConfig)
	if err != nil {
		return usageOf(&cfg, err)
	}
	return operate(ctx, &schedulerRole{s}, cfg.commonOptions, signals, stop)
}

// schedulerRole is a scheduler for its operator.
type schedulerRole struct{ *Scheduler }

func (r *schedulerRole) banner() string {
	return fmt.Sprintf("scheduler %s at %v, id %x\n%s", r.Name(), r.Location(), r.id[:4], r.protection())
}

func (r *schedulerRole) leave()                { r.loop.do(func(l *schedLoop) { l.state.Leave() }) }
func (r *schedulerRole) left() <-chan struct{} { return r.loop.over }

func (r *schedulerRole) closeActive(closed func()) {
	r.loop.do(func(l *schedLoop) { l.closeActive(closed) })
}

// status shows what the scheduler knows.
func (r *schedulerRole) status(context.Context) string {
	var text string
	r.loop.do(func(l *schedLoop) { text = l.state.Describe() })
	return fmt.Sprintf("scheduler %s at %v\n%s", r.Name(), r.Location(), text)
}
