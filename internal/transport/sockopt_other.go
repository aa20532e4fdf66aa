//go:build !linux

package transport

import "net"

// limitUnsent does nothing: these systems have no limit for the unsent bytes of a connection.
func limitUnsent(net.Conn) {}
