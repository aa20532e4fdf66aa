package lan

import (
	"errors"
	"net"
	"net/netip"
	"slices"
)

// An Asker sends questions and has the sockets that the answers come to. One goroutine may send
// while others read the sockets.
type Asker struct {
	port  int          // immutable: where others hear questions
	local bool         // immutable: asks this machine only
	four  *net.UDPConn // immutable; nil: no IPv4 socket
	six   *net.UDPConn // immutable; nil: no IPv6 socket
}

// NewAsker returns an Asker for questions to a port. A local one asks this machine only.
func NewAsker(local bool, port int) (*Asker, error) {
	a := &Asker{port: port, local: local}
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

// Conns returns the sockets that answers come to. [Asker.Close] closes them.
func (a *Asker) Conns() []*net.UDPConn {
	return slices.DeleteFunc([]*net.UDPConn{a.four, a.six}, func(c *net.UDPConn) bool { return c == nil })
}

// Send sends a question over every interface. It returns an error only when the question went
// nowhere.
func (a *Asker) Send(question []byte) error {
	sent := false
	var errs []error
	send := func(conn *net.UDPConn, to netip.Addr) {
		_, err := conn.WriteToUDPAddrPort(question, netip.AddrPortFrom(to, uint16(a.port))) //nolint:gosec // it is a port
		sent = sent || err == nil
		errs = append(errs, err)
	}
	multicast4 := func(from netip.Addr) {
		if sendFrom4(a.four, from.As4()) == nil {
			send(a.four, group4)
		}
	}
	var ifaces netInterfaces
	if !a.local {
		ifaces = interfaces()
	}
	if a.four != nil {
		for _, p := range ifaces.four {
			multicast4(p.Addr())
			if all, ok := broadcastOf(p); ok {
				send(a.four, all)
			}
		}
		if loopbackBroadcasts {
			send(a.four, loopbackBroadcast4)
		} else {
			multicast4(loopback4)
		}
	}
	if a.six != nil {
		for _, i := range ifaces.six {
			send(a.six, group6.WithZone(i.Name))
		}
	}
	if !sent {
		return errors.Join(append(errs, errors.New("no network to ask on"))...)
	}
	return nil
}

// Close closes the sockets.
func (a *Asker) Close() {
	for _, conn := range a.Conns() {
		_ = conn.Close()
	}
}
