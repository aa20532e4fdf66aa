package schedule

import (
	"fmt"
	"regexp"
	"regexp/syntax"

	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/wire"
)

// Bounds of what a scheduler takes.
const (
	maxFilters = 1024
	maxPattern = 1024
	maxSteps   = 1 << 16 // instructions of all patterns: a short one can have a hundred thousand
)

// filter is a wire.NodeFilter that is ready to be used.
type filter struct {
	wire.NodeFilter

	addr, platform *regexp.Regexp
}

// CheckFilters returns what is wrong with the filters of a computation, if anything is. The text
// names the field of discoro.ComputationConfig.
func CheckFilters(filters []wire.NodeFilter) error {
	_, err := compileFilters(filters)
	return err
}

// compileFilters makes filters ready, or says which is wrong.
func compileFilters(filters []wire.NodeFilter) ([]filter, error) {
	if len(filters) > maxFilters {
		return nil, fmt.Errorf("discoro: ComputationConfig.NodeFilters: %d, at most %d can be used", len(filters), maxFilters)
	}
	ready := make([]filter, len(filters))
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
func filterOut(filters []filter, host string, o *wire.Offer) string {
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
