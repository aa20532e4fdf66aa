package discoro

import "github.com/discoro/discoro/wire"

// NodeFilter says which nodes a computation uses. Filters are tried in order, and the first one whose
// Addr matches a node's address decides: the node is used if it has everything else that the filter
// asks for, and ignored otherwise, with the reason in [NodeIgnore]. A node that no Addr matches is
// used. To exclude a node, put a filter first that has its address and asks for what it cannot have,
// such as CPUs: 99999. In asyncoro: DiscoroNodeFilter.
type NodeFilter struct {
	// Addr is a regular expression that the node's bare address (the host of its location, without
	// the port) must start with; empty: any address. End it with $ to match the whole address.
	Addr string
	// Platform is a regular expression that must match a part of the node's platform, such as
	// "linux/amd64", in upper or lower case; empty: any platform.
	Platform string
	// CPUs is the least number of servers that the node must have; 0: any number.
	CPUs int
	// Memory is the least number of bytes of memory that must be available there; 0: any number.
	Memory uint64
	// Disk is the least number of bytes that must be free on the partition of the node's files
	// (Config.DestPath); 0: any number.
	Disk uint64
}

// filtersToWire returns filters as they travel.
func filtersToWire(filters []NodeFilter) []wire.NodeFilter {
	out := make([]wire.NodeFilter, len(filters))
	for i, f := range filters {
		out[i] = wire.NodeFilter{Addr: f.Addr, Platform: f.Platform, CPUs: f.CPUs, Memory: f.Memory, Disk: f.Disk}
	}
	return out
}
