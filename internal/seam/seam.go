// Package seam lets tests of other packages reach what discoro does not offer to programs. discoro
// sets the functions here when it is initialized; package discorotest and the tests of this module
// call them. It imports nothing of this module, so that discoro can import it: hence the parameters
// of type any.
//
// The package has no goroutine and no lock. Its variables are set once, before any test runs.
package seam

import (
	"context"
	"net"
	"time"
)

// Host is where a runtime is in a network of a test: package testnet has them. Addresses are
// "host:port".
type Host interface {
	// Name returns the host's name.
	Name() string
	// InMemory reports whether the host has connections in memory, not sockets.
	InMemory() bool
	// Listen makes a listener in memory at host and port, or any free port for 0, and returns the
	// port. Others reach it there, and at that port of the host announced.
	Listen(host, announced string, port int) (net.Listener, int, error)
	// Own makes the network know of a socket that listens at host and port. The caller uses the
	// listener that it returns.
	Own(ln net.Listener, host, announced string, port int) net.Listener
	// Dial connects from, an address at this host, to the address to.
	Dial(ctx context.Context, from, to string) (net.Conn, error)
	// Lookup returns the addresses of a host's name.
	Lookup(ctx context.Context, name string) ([]string, error)
	// Announce makes who, which listens at this host and is announced as at, visible to Near. For
	// hosts in memory.
	Announce(at string, who any)
	// Near returns everybody who was announced and is not cut off from this host.
	Near() []any
}

// Tuning is what tests may change of a runtime and its role. Zero fields change nothing.
type Tuning struct {
	Host      Host             // where the runtime is; nil: on the real network
	Pulse     time.Duration    // between signs of life on a link that serves no computation
	LeastPing time.Duration    // the smallest PingInterval that is allowed
	Now       func() time.Time // a node's time of day
}

// Tune sets the tuning of cfg, a *discoro.Config or *discoro.ComputationConfig. For a role that is
// the Config in the role's configuration.
var Tune func(cfg any, t Tuning)

// KillServer ends the server at loc, a discoro.Location, as if its process had been killed: its
// links break, what it runs is lost, and node, a *discoro.Node, starts a fresh server. A server in
// this process cannot be killed: its coroutines are terminated. KillServer does not wait for any of
// that. It returns discoro.ErrNotFound if the node has started no server that is up at loc.
var KillServer func(node, loc any) error
