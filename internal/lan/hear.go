package lan

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// Where questions go. Both groups stay in the local network.
var (
	group4 = netip.AddrFrom4([4]byte{239, 255, 51, 35})
	group6 = netip.MustParseAddr("ff02::d15c")
)

var (
	loopback4          = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	loopbackBroadcast4 = netip.AddrFrom4([4]byte{127, 255, 255, 255})
)

// Hear returns sockets that receive the questions sent to a port, for a runtime that listens at an
// address: those of this machine when that is a loopback address, else those of the local network.
// With sockets of both IPv4 and IPv6, one of them is enough for success. A socket for loopback may
// also receive what other machines send, which the caller must drop.
func Hear(listen netip.Addr, port int) ([]*net.UDPConn, error) {
	if listen.IsLoopback() {
		return hearLoopback(port)
	}
	return hearNetwork(listen, port)
}

// hearLoopback returns a socket that receives the questions of this machine.
func hearLoopback(port int) ([]*net.UDPConn, error) {
	host := "0.0.0.0"
	if loopbackBroadcasts {
		host = loopbackBroadcast4.String() // which nothing from another machine reaches
	}
	conn, err := listenUDP("udp4", host, port)
	if err != nil {
		return nil, err
	}
	if !loopbackBroadcasts {
		if err := joinGroup4(conn, loopback4.As4()); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	return []*net.UDPConn{conn}, nil
}

// hearNetwork returns sockets that receive the questions of the local network, of the kinds of
// address that the runtime listens at.
func hearNetwork(listen netip.Addr, port int) ([]*net.UDPConn, error) {
	ifaces := interfaces()
	var conns []*net.UDPConn
	var errs []error
	if listen.Is4() || listen.IsUnspecified() {
		conn, err := listenUDP("udp4", "0.0.0.0", port)
		if err == nil {
			conns = append(conns, conn)
			for _, at := range ifaces.four {
				_ = joinGroup4(conn, at.Addr().As4()) // broadcasts may be enough
			}
		}
		errs = append(errs, err)
	}
	if listen.Is6() {
		conn, err := listenUDP("udp6", "::", port)
		if err == nil {
			conns = append(conns, conn)
			for _, i := range ifaces.six {
				_ = joinGroup6(conn, i.Index) // another interface may be enough
			}
		}
		errs = append(errs, err)
	}
	if len(conns) == 0 {
		return nil, errors.Join(errs...)
	}
	return conns, nil
}

// listenUDP returns a socket at a port, which others may share.
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
