package discoro

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
)

// Where questions go. Both groups stay in the local network.
var (
	discoverGroup4 = netip.AddrFrom4([4]byte{239, 255, 51, 35})
	discoverGroup6 = netip.MustParseAddr("ff02::d15c")
)

var (
	loopback4          = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	loopbackBroadcast4 = netip.AddrFrom4([4]byte{127, 255, 255, 255})
)

// maxInterfaces bounds how many interfaces questions go out over.
const maxInterfaces = 64

// listenUDP returns a socket at a host's port, which others may share.
func listenUDP(network string, host string, port int) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: shareSocket}
	pc, err := lc.ListenPacket(context.Background(), network, net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return nil, err
	}
	conn, ok := pc.(*net.UDPConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("%T is no UDP socket", pc), pc.Close())
	}
	return conn, nil
}

// hearLocal returns the socket that hears the questions of this machine.
func hearLocal(port int) ([]*net.UDPConn, error) {
	host := "0.0.0.0" // what comes from elsewhere is dropped when it comes
	if loopbackHears {
		host = loopbackBroadcast4.String()
	}
	conn, err := listenUDP("udp4", host, port)
	if err != nil {
		return nil, err
	}
	if !loopbackHears {
		if err := joinGroup4(conn, loopback4.As4()); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	return []*net.UDPConn{conn}, nil
}

// hearNetwork returns the sockets that hear the questions of the local network, of the kind of address that the runtime
// listens on. One kind is enough.
func hearNetwork(listen netip.Addr, port int) ([]*net.UDPConn, error) {
	ifaces := interfaces()
	var conns []*net.UDPConn
	var errs []error
	if listen.Is4() || listen.IsUnspecified() {
		conn, err := listenUDP("udp4", "0.0.0.0", port)
		if err == nil {
			conns = append(conns, conn)
			for _, at := range ifaces.four {
				_ = joinGroup4(conn, at.Addr().As4()) // broadcasts may do
			}
		}
		errs = append(errs, err)
	}
	if listen.Is6() {
		conn, err := listenUDP("udp6", "::", port)
		if err == nil {
			conns = append(conns, conn)
			for _, i := range ifaces.six {
				_ = joinGroup6(conn, i.Index)
			}
		}
		errs = append(errs, err)
	}
	if len(conns) == 0 {
		return nil, errors.Join(errs...)
	}
	return conns, nil
}

// netInterfaces is what there is to ask over.
type netInterfaces struct {
	four []netip.Prefix  // IPv4 addresses with their networks
	six  []net.Interface // that have an IPv6 address
}

func interfaces() netInterfaces {
	var all netInterfaces
	ifs, err := net.Interfaces()
	if err != nil {
		return all
	}
	for _, i := range ifs {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 || len(all.four) >= maxInterfaces || len(all.six) >= maxInterfaces {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		has6 := false
		for _, a := range addrs {
			p, ok := prefixOf(a)
			if ok && p.Addr().Is4() {
				all.four = append(all.four, p)
			}
			has6 = has6 || ok && p.Addr().Is6()
		}
		if has6 && i.Flags&net.FlagMulticast != 0 {
			all.six = append(all.six, i)
		}
	}
	return all
}

// prefixOf returns an interface's address with its network.
func prefixOf(a net.Addr) (netip.Prefix, bool) {
	n, ok := a.(*net.IPNet)
	if !ok {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if !ok || bits == 0 {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(addr.Unmap(), ones), true
}

// broadcastOf returns the address that reaches everybody in a network, if it has one.
func broadcastOf(p netip.Prefix) (netip.Addr, bool) {
	if !p.Addr().Is4() || p.Bits() > 30 || p.Bits() < 0 {
		return netip.Addr{}, false
	}
	a := p.Masked().Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		a[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(a), true
}

// isNear reports whether an address is in a network that this host is in.
func isNear(addr netip.Addr) bool {
	if addr.IsLoopback() || addr.IsLinkLocalUnicast() {
		return true
	}
	addrs, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(addrs, func(a net.Addr) bool {
		p, ok := prefixOf(a)
		return ok && p.Contains(addr.WithZone(""))
	})
}

// asker sends questions, and hears the answers.
type asker struct {
	port  int          // immutable: that others listen on
	local bool         // immutable: asks this machine only
	four  *net.UDPConn // immutable; nil: not here
	six   *net.UDPConn // immutable; nil: not here
}

func newAsker(local bool, port int) (*asker, error) {
	a := &asker{port: port, local: local}
	host := netip.IPv4Unspecified()
	if local {
		host = loopback4
	}
	var err4, err6 error
	a.four, err4 = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(host, 0)))
	if !local {
		a.six, err6 = net.ListenUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.IPv6Unspecified(), 0)))
	}
	if a.four == nil && a.six == nil {
		return nil, errors.Join(err4, err6)
	}
	return a, nil
}

// conns are the sockets that answers come to.
func (a *asker) conns() []*net.UDPConn {
	return slices.DeleteFunc([]*net.UDPConn{a.four, a.six}, func(c *net.UDPConn) bool { return c == nil })
}

func (a *asker) close() {
	for _, conn := range a.conns() {
		_ = conn.Close()
	}
}

// send sends a question wherever it can; it fails when that is nowhere.
func (a *asker) send(question []byte) error {
	sent := false
	var errs []error
	put := func(conn *net.UDPConn, to netip.Addr) {
		_, err := conn.WriteToUDPAddrPort(question, netip.AddrPortFrom(to, uint16(a.port))) //nolint:gosec // it is a port
		sent = sent || err == nil
		errs = append(errs, err)
	}
	group := func(at netip.Addr) {
		if sendFrom4(a.four, at.As4()) == nil {
			put(a.four, discoverGroup4)
		}
	}
	var ifaces netInterfaces
	if !a.local {
		ifaces = interfaces()
	}
	if a.four != nil {
		for _, p := range ifaces.four {
			group(p.Addr())
			if all, ok := broadcastOf(p); ok {
				put(a.four, all)
			}
		}
		if loopbackHears {
			put(a.four, loopbackBroadcast4)
		} else {
			group(loopback4)
		}
	}
	if a.six != nil {
		for _, i := range ifaces.six {
			put(a.six, discoverGroup6.WithZone(i.Name))
		}
	}
	if !sent {
		return errors.Join(append(errs, errors.New("no network to ask on"))...)
	}
	return nil
}
