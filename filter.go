package discoro

import "github.com/discoro/discoro/wire"

// NodeFilter says which nodes a computation uses. Filters are tried in order, and the first whose Addr matches a node's
// address decides: the node is used when everything else fits, and ignored with the reason otherwise. A node that no
// filter's Addr matches is used. To keep a node out, put a filter first that has its address and what it cannot have, such
// as CPUs: 99999. In asyncoro: DiscoroNodeFilter.
type NodeFilter struct {
	// Addr is a regular expression for the start of the node's bare address (the host of its location, without a port);
	// empty: any. End it with $ to match the whole.
	Addr string
	// Platform is a regular expression that must occur in the node's platform, "linux/amd64", whatever the case.
	Platform string
	// CPUs is how many servers the node must have; 0: any number.
	CPUs int
	// Memory is how many bytes of memory must be available there; 0: any number.
	Memory uint64
	// Disk is how many bytes must be free on the partition that the node uses (Config.DestPath); 0: any number.
	Disk uint64
}

// filtersToWire is what travels of filters.
func filtersToWire(filters []NodeFilter) []wire.NodeFilter {
	out := make([]wire.NodeFilter, len(filters))
	for i, f := range filters {
		out[i] = wire.NodeFilter{Addr: f.Addr, Platform: f.Platform, CPUs: f.CPUs, Memory: f.Memory, Disk: f.Disk}
	}
	return out
}
