package testnet

import (
	"cmp"
	"context"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
)

// Network joins the hosts of a test and can part them. It is safe for concurrent use.
type Network struct {
	inMemory bool // immutable

	mu      sync.Mutex // guards following; leaf
	hosts   map[string]*Host
	at      map[string]*listener // by address
	conns   map[conn]bool        // those that are open
	port    int                  // the last that was chosen in memory
	changed chan struct{}        // closed, and made anew, when hosts are cut off or healed
}

// Host is a host of a [Network]: the things there are cut off from other hosts together. It is safe
// for concurrent use.
type Host struct {
	net  *Network   // immutable
	name string     // immutable
	ip   netip.Addr // immutable: the address that its connections in memory have for limits

	cut   atomic.Bool          // from the others; written with net.mu held
	apart atomic.Pointer[Host] // it is cut off from this one, too; written with net.mu held
}

// conn is a connection between two hosts.
type conn interface {
	between() (a, b *Host)
	refresh() // looks again whether the two are cut off from each other; never blocks
	reset()   // ends it for both sides at once; never blocks
}

// listener is an entry for somebody who listens.
type listener struct {
	host      *Host        // immutable
	in        *memListener // immutable; nil on loopback
	announced string       // immutable
	who       any          // guarded by net.mu: what can be discovered there; nil: nothing
}

// New returns a network of sockets on loopback.
func New() *Network { return newNetwork(false) }

// NewInMemory returns a network in memory. Nobody outside reaches it.
func NewInMemory() *Network { return newNetwork(true) }

func newNetwork(inMemory bool) *Network {
	return &Network{
		inMemory: inMemory, hosts: map[string]*Host{}, at: map[string]*listener{}, conns: map[conn]bool{},
		changed: make(chan struct{}),
	}
}

// Host returns the host of that name. The first call makes it.
func (n *Network) Host(name string) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hosts[name]
	if h == nil {
		i := len(n.hosts) + 1
		h = &Host{net: n, name: name, ip: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})}
		n.hosts[name] = h
	}
	return h
}

// Heal undoes Cut and CutFrom for every host.
func (n *Network) Heal() {
	n.mu.Lock()
	hosts := slices.Collect(maps.Values(n.hosts))
	n.mu.Unlock()
	for _, h := range hosts {
		h.Heal()
	}
}

// Name returns the host's name.
func (h *Host) Name() string { return h.name }

// InMemory reports whether the host's network is in memory.
func (h *Host) InMemory() bool { return h.net.inMemory }

// Cut cuts the host off from all others. Neither side notices: bytes that are sent from now on, or
// are on their way, wait; connections neither open nor close; no error appears. Links within the
// host go on. Cut does nothing to a host that is cut off already.
func (h *Host) Cut() { h.change(func() bool { return !h.cut.Swap(true) }) }

// CutFrom cuts the host off from one other host only, as Cut does from all.
func (h *Host) CutFrom(o *Host) { h.change(func() bool { return h.apart.Swap(o) != o }) }

// Heal undoes Cut and CutFrom. What has waited arrives, as TCP sends again what was lost.
func (h *Host) Heal() {
	h.change(func() bool {
		was := h.cut.Swap(false)
		return h.apart.Swap(nil) != nil || was
	})
}

// change calls do, which changes what the host is cut off from. do reports whether it did.
func (h *Host) change(do func() bool) {
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

// Break breaks every connection of the host with others, as a router does that has lost its memory.
// Both sides notice at once, and may connect again.
func (h *Host) Break() {
	h.net.mu.Lock()
	conns := h.connsLocked()
	h.net.mu.Unlock()
	for _, c := range conns {
		c.reset()
	}
}

// connsLocked returns the host's connections with others.
func (h *Host) connsLocked() []conn {
	var conns []conn
	for c := range h.net.conns {
		if a, b := c.between(); a != b && (a == h || b == h) {
			conns = append(conns, c)
		}
	}
	return conns
}

// parted reports whether two hosts are cut off from each other.
func parted(a, b *Host) bool {
	return a != b && (a.cut.Load() || b.cut.Load() || a.apart.Load() == b || b.apart.Load() == a)
}

// add adds a connection, and remove removes it.
func (n *Network) add(c conn) {
	n.mu.Lock()
	n.conns[c] = true
	n.mu.Unlock()
	c.refresh()
}

func (n *Network) remove(c conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
}

// Conns returns how many connections are open.
func (n *Network) Conns() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.conns)
}

// Listen makes a listener in memory at host and port, or any free port for 0. Others reach it
// there, and at that port of the host announced.
func (h *Host) Listen(host, announced string, port int) (net.Listener, int, error) {
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if port == 0 {
		port = n.freePortLocked(host)
	}
	addr := memAddr{addr: join(host, port), ip: h.ip}
	if n.at[addr.addr] != nil {
		return nil, 0, &net.OpError{Op: "listen", Net: addr.Network(), Addr: addr, Err: syscall.EADDRINUSE}
	}
	l := &listener{host: h, in: &memListener{addr: addr}, announced: join(announced, port)}
	return h.enterLocked(l, l.in, addr.addr, l.announced), port, nil
}

// The ports that are chosen in memory.
const (
	firstMemPort = 10_001
	lastMemPort  = 65_535
)

func (n *Network) freePortLocked(host string) int {
	for {
		n.port = max(firstMemPort, (n.port+1)%(lastMemPort+1))
		if n.at[join(host, n.port)] == nil {
			return n.port
		}
	}
}

// Own makes the network know of ln, a socket on loopback that listens at host and port, as
// announced. The caller uses the listener that it returns.
func (h *Host) Own(ln net.Listener, host, announced string, port int) net.Listener {
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		host = "" // all addresses
	}
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	l := &listener{host: h, announced: join(announced, port)}
	return h.enterLocked(l, ln, join(host, port), l.announced)
}

// enterLocked makes the network know of a listener until that is closed.
func (h *Host) enterLocked(l *listener, ln net.Listener, places ...string) net.Listener {
	n := h.net
	for _, at := range places {
		n.at[at] = l
	}
	return &leavingListener{Listener: ln, leave: func() { n.leave(l, places) }}
}

// leave removes a listener.
func (n *Network) leave(l *listener, places []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, at := range places {
		if n.at[at] == l {
			delete(n.at, at)
		}
	}
}

// leavingListener leaves the network when it is closed.
type leavingListener struct {
	net.Listener

	leave func()
}

// Close closes the listener.
func (l *leavingListener) Close() error {
	l.leave()
	return l.Listener.Close()
}

// Dial connects from, an address at this host, to the address to. Both are "host:port". While the
// two hosts are cut off from each other it blocks.
func (h *Host) Dial(ctx context.Context, from, to string) (net.Conn, error) {
	n := h.net
	for {
		n.mu.Lock()
		l := n.at[to]
		if _, port, err := net.SplitHostPort(to); l == nil && err == nil && !n.inMemory {
			l = n.at[net.JoinHostPort("", port)] // somebody who listens at all addresses
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
			return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: memAddr{addr: to}, Err: ctx.Err()}
		}
	}
}

// connect is Dial once the hosts are not cut off. l is nil if nobody of the network listens there.
func (h *Host) connect(ctx context.Context, l *listener, from, to string) (net.Conn, error) {
	switch {
	case !h.net.inMemory:
		var d net.Dialer
		raw, err := d.DialContext(ctx, "tcp", to)
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
	addr := memAddr{addr: to}
	return nil, &net.OpError{Op: "dial", Net: addr.Network(), Addr: addr, Err: syscall.ECONNREFUSED}
}

// Lookup returns the addresses of a host's name. In memory a name is its own only address.
func (h *Host) Lookup(ctx context.Context, name string) ([]string, error) {
	if h.net.inMemory {
		return []string{name}, nil
	}
	return net.DefaultResolver.LookupHost(ctx, name)
}

// Announce makes who, which listens at this host and is announced as at, visible to Near.
func (h *Host) Announce(at string, who any) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if l := h.net.at[at]; l != nil {
		l.who = who
	}
}

// Near returns everybody who was announced and is not cut off from this host, in the order of their
// addresses.
func (h *Host) Near() []any {
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	var near []*listener
	for at, l := range n.at {
		if l.who != nil && at == l.announced && !parted(h, l.host) {
			near = append(near, l)
		}
	}
	slices.SortFunc(near, func(a, b *listener) int { return compareAddrs(a.announced, b.announced) })
	who := make([]any, len(near))
	for i, l := range near {
		who[i] = l.who
	}
	return who
}

// compareAddrs orders by hosts, then by ports as numbers.
func compareAddrs(a, b string) int {
	hostA, portA, _ := net.SplitHostPort(a)
	hostB, portB, _ := net.SplitHostPort(b)
	return cmp.Or(cmp.Compare(hostA, hostB), cmp.Compare(len(portA), len(portB)), cmp.Compare(portA, portB))
}

func join(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
