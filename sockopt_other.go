//go:build !linux

package discoro

import "net"

// limitUnsent does nothing here: how much the kernel holds of a connection's unsent bytes is its own affair.
func limitUnsent(net.Conn) {}
