package discoro

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/discoro/discoro/wire"
)

// Location is where a runtime can be reached: a host and a TCP port. Locations can be compared and
// be map keys. In asyncoro: Location.
type Location struct {
	Addr string // a host name or an IP address; an IPv6 address without brackets
	Port int    // a TCP port
}

// String returns "10.0.0.7:51347", with brackets around an IPv6 address.
func (l Location) String() string {
	return net.JoinHostPort(l.Addr, strconv.Itoa(l.Port))
}

// IsZero reports whether l is the zero Location, which names no place.
func (l Location) IsZero() bool { return l == Location{} }

// ParseLocation parses a location in the form that String returns. The port must be a number from 1
// to 65535. ParseLocation does not look the host up.
func ParseLocation(s string) (Location, error) {
	l, err := parseLocation(s)
	if err != nil {
		return Location{}, fmt.Errorf("discoro: %w", err)
	}
	return l, nil
}

// parseLocation is ParseLocation for callers whose errors have a prefix of their own.
func parseLocation(s string) (Location, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return Location{}, fmt.Errorf(`location %q: want "host:port", an IPv6 address in brackets`, s)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return Location{}, fmt.Errorf("location %q: the port must be a number from 1 to 65535", s)
	}
	if !isHost(host) {
		return Location{}, fmt.Errorf("location %q: %q is not a host", s, host)
	}
	return Location{Addr: host, Port: int(n)}, nil
}

// isHost reports whether s can be a host name or an IP address. It does not look s up.
func isHost(s string) bool {
	const most = 255
	if s == "" || len(s) > most || !isPlainText(s) || strings.ContainsAny(s, " /[]") {
		return false
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	return !strings.Contains(s, ":")
}

// Place is where a run takes place: a [Location] is that server, and a [NodeAddr] is the least
// loaded server there.
type Place interface{ place() wire.Where }

// NodeAddr names a node by its location, "host:port", or all nodes at a host, "host".
type NodeAddr string

func (n NodeAddr) place() wire.Where { return wire.Where{Node: string(n)} }

func (l Location) place() wire.Where { return wire.Where{Host: l.Addr, Port: l.Port} }
