package discoro

import (
	"fmt"
	"regexp"
	"regexp/syntax"

	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/wire"
)

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

// Bounds of what a scheduler takes.
const (
	maxFilters = 1024
	maxPattern = 1024
	maxSteps   = 1 << 16 // instructions of all patterns: a short one can have a hundred thousand
)

// nodeFilter is a NodeFilter that is ready to be used.
type nodeFilter struct {
	NodeFilter

	addr, platform *regexp.Regexp
}

// compileFilters makes filters ready, or says which is wrong.
func compileFilters(filters []NodeFilter) ([]nodeFilter, error) {
	if len(filters) > maxFilters {
		return nil, fmt.Errorf("discoro: ComputationConfig.NodeFilters: %d, at most %d can be used", len(filters), maxFilters)
	}
	ready := make([]nodeFilter, len(filters))
	left := maxSteps
	for i, f := range filters {
		wrong := func(field string, err error) error {
			return fault.Because(err, "ComputationConfig.NodeFilters[%d].%s", i, field)
		}
		var err error
		ready[i].NodeFilter = f
		if ready[i].addr, err = compilePattern("^(?:", f.Addr, ")", &left); err != nil {
			return nil, wrong("Addr", err)
		}
		if ready[i].platform, err = compilePattern("(?i:", f.Platform, ")", &left); err != nil {
			return nil, wrong("Platform", err)
		}
		if f.CPUs < 0 {
			return nil, wrong("CPUs", fmt.Errorf("%d is negative", f.CPUs))
		}
	}
	return ready, nil
}

// compilePattern takes what the pattern has of instructions off left.
func compilePattern(before, pattern, after string, left *int) (*regexp.Regexp, error) {
	if len(pattern) > maxPattern {
		return nil, fmt.Errorf("a pattern of %d bytes, at most %d can be used", len(pattern), maxPattern)
	}
	parsed, err := syntax.Parse(pattern, syntax.Perl) // by itself, for the error's text
	if err != nil {
		return nil, err
	}
	prog, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, err
	}
	if *left -= len(prog.Inst); *left < 0 {
		return nil, fmt.Errorf("the patterns up to this one repeat too much: compiled they have more than %d steps", maxSteps)
	}
	return regexp.Compile(before + pattern + after)
}

// filterOut says why the filters do not let a node be used; empty when they do. host is its bare address.
func filterOut(filters []nodeFilter, host string, o *wire.Offer) string {
	for i := range filters {
		f := &filters[i]
		if !f.addr.MatchString(host) {
			continue
		}
		switch {
		case !f.platform.MatchString(o.Platform):
			return fmt.Sprintf("its platform is %s, filter %d wants %q", o.Platform, i+1, f.Platform)
		case o.CPUs < f.CPUs:
			return fmt.Sprintf("it has %s, filter %d wants %d", fault.Count(o.CPUs, "server"), i+1, f.CPUs)
		case o.Memory < f.Memory:
			return fmt.Sprintf("it has %d bytes of memory available, filter %d wants %d", o.Memory, i+1, f.Memory)
		case o.Disk < f.Disk:
			return fmt.Sprintf("it has %d bytes of disk free, filter %d wants %d", o.Disk, i+1, f.Disk)
		}
		return ""
	}
	return ""
}

// filtersToWire is what travels of filters.
func filtersToWire(filters []NodeFilter) []wire.NodeFilter {
	out := make([]wire.NodeFilter, len(filters))
	for i, f := range filters {
		out[i] = wire.NodeFilter{Addr: f.Addr, Platform: f.Platform, CPUs: f.CPUs, Memory: f.Memory, Disk: f.Disk}
	}
	return out
}

// filtersFromWire makes filters ready that came from a client.
func filtersFromWire(filters []wire.NodeFilter) ([]nodeFilter, error) {
	in := make([]NodeFilter, len(filters))
	for i, f := range filters {
		in[i] = NodeFilter{Addr: f.Addr, Platform: f.Platform, CPUs: f.CPUs, Memory: f.Memory, Disk: f.Disk}
	}
	return compileFilters(in)
}
