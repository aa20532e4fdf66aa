package link

import (
	"net"
	"strconv"
)

// Location is where a runtime listens. It is comparable.
type Location struct {
	Addr string // host name or IP address, IPv6 without brackets
	Port int
}

// String returns the location as "host:port", with an IPv6 address in brackets.
func (l Location) String() string { return net.JoinHostPort(l.Addr, strconv.Itoa(l.Port)) }
