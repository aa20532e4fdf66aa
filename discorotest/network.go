package discorotest

import (
	"cmp"
	"log/slog"
	"testing"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/internal/seam"
	"github.com/discoro/discoro/internal/testnet"
)

// Network joins the runtimes of a test and can part them. It is for programs that make their own
// runtimes and roles; [New] makes a whole cluster. Each runtime is at a host, which has a name, and
// several runtimes may be at one. Its methods are safe for concurrent use. Runtime ends the test if
// it fails, and must be called from the test's goroutine.
type Network struct {
	log *testLog         // immutable
	net *testnet.Network // immutable
}

// NewNetwork returns a network of hosts, all in the test's process.
//
// In memory its runtimes reach each other and nobody else, without sockets, so that they run in a
// bubble of [testing/synctest], where hours pass at once. A runtime there announces its host's name
// unless Config.Addr is set, Config.Peers name such locations, and discovery finds the runtimes
// with the same Config.UDPPort and Config.Secret.
//
// Otherwise its runtimes have sockets on loopback, as in production.
//
// When tb ends, every host is healed, so that what is left can be closed.
func NewNetwork(tb testing.TB, inMemory bool) *Network {
	tb.Helper()
	n := &Network{log: &testLog{t: tb}, net: testnet.New()}
	if inMemory {
		n.net = testnet.NewInMemory()
	}
	tb.Cleanup(n.log.end)
	tb.Cleanup(n.net.Heal)
	return n
}

// Runtime starts a runtime at the host of that name, which is its name as well unless cfg has one.
// It logs to tb unless cfg.Logger is set, and closes when tb ends; tb is the network's test or one
// below it.
func (n *Network) Runtime(tb testing.TB, name string, cfg discoro.Config) *discoro.Runtime {
	tb.Helper()
	rt, err := discoro.NewRuntime(n.At(name, cfg))
	if err != nil {
		tb.Fatalf("discorotest: start runtime %s: %v", name, err)
	}
	tb.Cleanup(func() {
		n.net.Heal()
		if err := rt.Close(); err != nil {
			tb.Errorf("discorotest: close runtime %s: %v", name, err)
		}
	})
	return rt
}

// At returns cfg for a runtime at the host of that name. It is for roles, which the caller closes:
//
//	sched, err := discoro.NewScheduler(discoro.SchedulerConfig{Config: network.At("scheduler", discoro.Config{})})
//
// Nodes there cannot have NodeConfig.Processes.
func (n *Network) At(name string, cfg discoro.Config) discoro.Config {
	host := n.net.Host(name)
	cfg.Name = cmp.Or(cfg.Name, name)
	if !host.InMemory() {
		cfg.Addr = cmp.Or(cfg.Addr, "127.0.0.1") // with a secret it would be reached from elsewhere
		cfg.UDPPort = cmp.Or(cfg.UDPPort, -1)    // or programs on this machine would find it
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(n.log.handler())
	}
	seam.Tune(&cfg, seam.Tuning{Host: host})
	return cfg
}

// Cut cuts the host of that name off from all others, silently: what is sent waits, and no error
// appears. Both sides find out when five pulses are missed. Runtimes at one host still reach each
// other.
func (n *Network) Cut(name string) { n.net.Host(name).Cut() }

// Heal undoes Cut. What has waited arrives, unless its link has been given up meanwhile. Runtimes
// with Config.Peers then connect again.
func (n *Network) Heal(name string) { n.net.Host(name).Heal() }

// Break breaks every connection of the host of that name with others. Both sides notice at once,
// and may connect again.
func (n *Network) Break(name string) { n.net.Host(name).Break() }
