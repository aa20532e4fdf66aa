package discoro

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
)

// TestNetwork joins the runtimes of a test, all in one process, and can part them: it is for tests, and package
// discorotest makes whole clusters on one. A runtime is at one of its hosts, by Config.TestHost. It is safe for concurrent
// use.
//
// In memory ([NewMemNetwork]) its runtimes reach each other and nobody else, without sockets, so that whole clusters run in the
// fake time of [testing/synctest]; hours pass at once there. On loopback ([NewTestNetwork]) they have the sockets that they
// have without it.
type TestNetwork struct {
	inMemory bool // immutable

	mu      sync.Mutex // guards following; leaf
	hosts   map[string]*TestHost
	at      map[Location]*testListener // who listens where
	conns   map[testConn]bool          // those that are open
	port    int                        // the last that was given out in memory
	changed chan struct{}              // closed, and made anew, when hosts are cut off or healed
}

// TestHost is a host of a [TestNetwork]: what is cut off from the others together. It is safe for concurrent use.
type TestHost struct {
	net  *TestNetwork // immutable
	name string       // immutable
	ip   netip.Addr   // immutable: in memory, what its connections count as

	cut   atomic.Bool              // from the others; written with net.mu held
	apart atomic.Pointer[TestHost] // is cut off from this one, too; written with net.mu held
}

// testConn is a connection between two hosts.
type testConn interface {
	between() (a, b *TestHost)
	refresh() // looks anew whether the two are cut off from each other; never blocks
	reset()   // ends it for both sides at once; never blocks
}

// testListener is somebody who listens.
type testListener struct {
	host *TestHost    // immutable
	in   *memListener // immutable; nil on loopback
	rt   *Runtime     // guarded by net.mu: who can be discovered there; nil: nobody
}

// NewTestNetwork returns a network of sockets on loopback whose hosts can be cut off. Server processes are not at its hosts,
// so [NewNode] refuses NodeConfig.Processes there.
func NewTestNetwork() *TestNetwork { return newTestNetwork(false) }

// NewMemNetwork returns a network in memory. A runtime of it announces the host's name, unless Config.Addr says otherwise, and a
// port that is counted, unless Config.TCPPort says otherwise. Config.Peers name such locations. Discovery works, among its
// runtimes with the same Config.UDPPort. Nobody outside reaches it, so that Config.Insecure is not needed.
func NewMemNetwork() *TestNetwork { return newTestNetwork(true) }

func newTestNetwork(inMemory bool) *TestNetwork {
	return &TestNetwork{
		inMemory: inMemory, hosts: map[string]*TestHost{}, at: map[Location]*testListener{}, conns: map[testConn]bool{},
		changed: make(chan struct{}),
	}
}

// Host returns the host of that name, which is made when it is first asked for.
func (n *TestNetwork) Host(name string) *TestHost {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hosts[name]
	if h == nil {
		i := len(n.hosts) + 1
		h = &TestHost{net: n, name: name, ip: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})}
		n.hosts[name] = h
	}
	return h
}

// Heal undoes Cut for every host.
func (n *TestNetwork) Heal() {
	n.mu.Lock()
	hosts := slices.Collect(maps.Values(n.hosts))
	n.mu.Unlock()
	for _, h := range hosts {
		h.Heal()
	}
}

// Name returns the host's name.
func (h *TestHost) Name() string { return h.name }

// Cut cuts the host off from all others, without a word to either side: bytes that are sent from now on, or are under way,
// wait, connections neither open nor close, and no error shows. Links within the host go on. A host that is cut off already
// stays so.
func (h *TestHost) Cut() { h.change(func() bool { return !h.cut.Swap(true) }) }

// cutFrom cuts the host off from one other only, as Cut does from all.
func (h *TestHost) cutFrom(o *TestHost) { h.change(func() bool { return h.apart.Swap(o) != o }) }

// Heal undoes Cut: what waits arrives, as TCP sends again what was lost.
func (h *TestHost) Heal() {
	h.change(func() bool {
		was := h.cut.Swap(false)
		return h.apart.Swap(nil) != nil || was
	})
}

// change has do change what the host is cut off from; do reports whether it has.
func (h *TestHost) change(do func() bool) {
	n := h.net
	n.mu.Lock()
	if !do() {
		n.mu.Unlock()
		return
	}
	conns := h.connsLocked()
	changed := n.changed
	n.changed = make(chan struct{})
	n.mu.Unlock()
	close(changed)
	for _, c := range conns {
		c.refresh()
	}
}

// Break breaks every connection of the host with others, as a router does that has lost its memory: both sides see it at
// once, and may connect again.
func (h *TestHost) Break() {
	h.net.mu.Lock()
	conns := h.connsLocked()
	h.net.mu.Unlock()
	for _, c := range conns {
		c.reset()
	}
}

// connsLocked returns the host's connections with others.
func (h *TestHost) connsLocked() []testConn {
	var conns []testConn
	for c := range h.net.conns {
		if a, b := c.between(); a != b && (a == h || b == h) {
			conns = append(conns, c)
		}
	}
	return conns
}

// parted reports whether nothing goes between two hosts.
func parted(a, b *TestHost) bool {
	return a != b && (a.cut.Load() || b.cut.Load() || a.apart.Load() == b || b.apart.Load() == a)
}

// add enters a connection, and remove takes it out.
func (n *TestNetwork) add(c testConn) {
	n.mu.Lock()
	n.conns[c] = true
	n.mu.Unlock()
	c.refresh()
}

func (n *TestNetwork) remove(c testConn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
}

// inMemory reports whether h is a host in memory; nil is not.
func (h *TestHost) inMemory() bool { return h != nil && h.net.inMemory }

// settle chooses where a runtime in memory listens.
func (h *TestHost) settle(s *settled) {
	s.listen = s.Addr
	if s.listen == "" {
		s.listen = h.name
	}
	s.host = s.ExtAddr
	if s.host == "" {
		s.host = s.listen
	}
}

// listen makes a listener in memory, at s.listen, announced as s.host.
func (h *TestHost) listen(s *settled) (net.Listener, int, error) {
	n := h.net
	n.mu.Lock()
	loc := Location{Addr: s.listen, Port: s.TCPPort}
	for s.TCPPort == 0 && (loc.Port == 0 || n.at[loc] != nil) {
		n.port = max(firstMemPort, (n.port+1)%(lastMemPort+1))
		loc.Port = n.port
	}
	taken := n.at[loc] != nil
	n.mu.Unlock()
	addr := memAddr{loc: loc, ip: h.ip}
	if taken {
		return nil, 0, fmt.Errorf("discoro: listen: %w", &net.OpError{Op: "listen", Net: addr.Network(), Addr: addr, Err: syscall.EADDRINUSE})
	}
	l := &testListener{host: h, in: &memListener{addr: addr}}
	return h.enter(l, l.in, loc, Location{Addr: s.host, Port: loc.Port}), loc.Port, nil
}

// The ports that are counted in memory.
const (
	firstMemPort = 10_001
	lastMemPort  = 65_535
)

// own enters a runtime on loopback that listens with ln.
func (h *TestHost) own(ln net.Listener, s *settled, port int) net.Listener {
	at := s.listen
	if ip, err := netip.ParseAddr(at); err == nil && ip.IsUnspecified() {
		at = "" // all addresses
	}
	return h.enter(&testListener{host: h}, ln, Location{Addr: at, Port: port}, Location{Addr: s.host, Port: port})
}

// enter makes the network know of a listener until that is closed.
func (h *TestHost) enter(l *testListener, ln net.Listener, places ...Location) net.Listener {
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, loc := range places {
		n.at[loc] = l
	}
	return &leavingListener{Listener: ln, leave: func() { n.leave(l, places) }}
}

// leave takes a listener out.
func (n *TestNetwork) leave(l *testListener, places []Location) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, loc := range places {
		if n.at[loc] == l {
			delete(n.at, loc)
		}
	}
}

// leavingListener is a listener that the network knows of until it is closed.
type leavingListener struct {
	net.Listener

	leave func()
}

// Close closes the listener.
func (l *leavingListener) Close() error {
	l.leave()
	return l.Listener.Close()
}

// dial connects the runtime at from, which is at this host, to what is at to. While the two are parted it blocks.
func (h *TestHost) dial(ctx context.Context, from, to Location) (net.Conn, error) {
	n := h.net
	for {
		n.mu.Lock()
		l := n.at[to]
		if l == nil && !n.inMemory {
			l = n.at[Location{Port: to.Port}] // who listens at all addresses
		}
		cut := l != nil && parted(h, l.host) || l == nil && h.cut.Load()
		changed := n.changed
		n.mu.Unlock()
		if !cut {
			return h.connect(ctx, l, from, to)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: memAddr{loc: to}, Err: ctx.Err()}
		}
	}
}

// connect is dial where nothing is in between. l is nil where nobody of the network listens.
func (h *TestHost) connect(ctx context.Context, l *testListener, from, to Location) (net.Conn, error) {
	switch {
	case !h.net.inMemory:
		raw, err := dialTCP(ctx, to)
		if err != nil || l == nil {
			return raw, err
		}
		return newCutConn(raw, h, l.host), nil
	case l != nil:
		near, far := connectMemory(h, l.host, from, to)
		if l.in.put(far) {
			return near, nil
		}
		near.end.wire.reset()
	}
	addr := memAddr{loc: to}
	return nil, &net.OpError{Op: "dial", Net: addr.Network(), Addr: addr, Err: syscall.ECONNREFUSED}
}

// lookup returns the addresses of a host's name: in memory that is all that there is.
func (h *TestHost) lookup(ctx context.Context, name string) ([]string, error) {
	if h.inMemory() {
		return []string{name}, nil
	}
	return net.DefaultResolver.LookupHost(ctx, name)
}

// hear makes rt, which is at this host, one that can be discovered.
func (h *TestHost) hear(rt *Runtime) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if l := h.net.at[rt.loc]; l != nil {
		l.rt = rt
	}
}

// discovers returns whom rt, which is at this host, can discover now.
func (h *TestHost) discovers(rt *Runtime) []*Runtime {
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	var near []*Runtime
	for loc, l := range n.at {
		if o := l.rt; o != nil && o != rt && o.loc == loc && !parted(h, l.host) && o.cfg.UDPPort == rt.cfg.UDPPort && o.cfg.Secret == rt.cfg.Secret {
			near = append(near, o)
		}
	}
	slices.SortFunc(near, func(a, b *Runtime) int { return compareLocations(a.loc, b.loc) })
	return near
}
