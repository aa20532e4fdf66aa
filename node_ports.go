package discoro

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// maxPort is the highest TCP port.
const maxPort = 65535

// serverPorts gives each of count servers its port: those of list in order, then what follows the highest of them, but for
// the node's own. Without a list each port is 0, which is any.
func serverPorts(list []string, count, own int) ([]int, error) {
	if len(list) == 0 {
		return make([]int, count), nil
	}
	var ports []int
	for _, text := range list {
		low, high, err := parsePorts(text)
		if err != nil {
			return nil, err
		}
		for p := low; p <= high; p++ {
			switch {
			case p == own:
				return nil, fmt.Errorf("%d is the node's own TCPPort", p)
			case slices.Contains(ports, p):
				return nil, fmt.Errorf("%d is there twice", p)
			}
			ports = append(ports, p)
		}
	}
	for p := slices.Max(ports) + 1; len(ports) < count; p++ {
		if p > maxPort {
			return nil, fmt.Errorf("%q are too few for %d servers, and there are none beyond %d", list, count, maxPort)
		}
		if p != own {
			ports = append(ports, p)
		}
	}
	return ports[:count], nil
}

// parsePorts reads "N" or "LOW-HIGH".
func parsePorts(text string) (low, high int, err error) {
	first, last, isRange := strings.Cut(strings.TrimSpace(text), "-")
	if !isRange {
		last = first
	}
	low, errLow := parsePort(first)
	high, errHigh := parsePort(last)
	if err := errors.Join(errLow, errHigh); err != nil || low > high {
		return 0, 0, fmt.Errorf("%.40q is neither a port nor a range of ports: want N or LOW-HIGH, from 1 to %d", text, maxPort)
	}
	return low, high, nil
}

func parsePort(text string) (int, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 16)
	if err == nil && n == 0 {
		err = strconv.ErrRange
	}
	return int(n), err
}

// portFree tells, before a server starts, that it could not listen on its port: a server process cannot tell its node. node is
// where the node itself listens: its name may take long to look up.
func portFree(node net.Addr, port int) error {
	host, _, err := net.SplitHostPort(node.String())
	if port == 0 || err != nil {
		return err
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return fmt.Errorf("port %d of TCPPorts cannot be listened on: %w", port, err)
	}
	return ln.Close()
}
