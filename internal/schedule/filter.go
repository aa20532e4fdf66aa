package schedule

import (
	"fmt"
	"regexp"
	"regexp/syntax"

	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/wire"
)

// Bounds of the filters that a scheduler accepts.
const (
	maxFilters = 1024    // filters of a computation
	maxPattern = 1024    // bytes of a pattern
	maxSteps   = 1 << 16 // instructions of all patterns: a short pattern can have a hundred thousand
)

// filter is a compiled wire.NodeFilter.
type filter struct {
	wire.NodeFilter

	addr, platform *regexp.Regexp
}

// CheckFilters returns what is wrong with the filters of a computation; nil when nothing is. The
// error names the field of discoro.ComputationConfig.
func CheckFilters(filters []wire.NodeFilter) error {
	_, err := compileFilters(filters)
	return err
}

// compileFilters compiles the filters of a computation.
func compileFilters(filters []wire.NodeFilter) ([]filter, error) {
	if len(filters) > maxFilters {
		return nil, fmt.Errorf("discoro: ComputationConfig.NodeFilters: %d, at most %d can be used",
			len(filters), maxFilters)
	}
	compiled := make([]filter, len(filters))
	left := maxSteps
	for i, f := range filters {
		wrong := func(field string, err error) error {
			return fault.Because(err, "ComputationConfig.NodeFilters[%d].%s", i, field)
		}
		var err error
		compiled[i].NodeFilter = f
		if compiled[i].addr, err = compilePattern("^(?:", f.Addr, ")", &left); err != nil {
			return nil, wrong("Addr", err)
		}
		if compiled[i].platform, err = compilePattern("(?i:", f.Platform, ")", &left); err != nil {
			return nil, wrong("Platform", err)
		}
		if f.CPUs < 0 {
			return nil, wrong("CPUs", fmt.Errorf("%d is negative", f.CPUs))
		}
	}
	return compiled, nil
}

// compilePattern compiles a pattern between before and after. It subtracts the pattern's instructions
// from left, and fails when none are left.
func compilePattern(before, pattern, after string, left *int) (*regexp.Regexp, error) {
	if len(pattern) > maxPattern {
		return nil, fmt.Errorf("a pattern of %d bytes, at most %d can be used", len(pattern), maxPattern)
	}
	parsed, err := syntax.Parse(pattern, syntax.Perl) // alone: it may not end the group around it
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

// filterOut returns why the filters exclude a node; empty when they do not. The first filter whose
// address matches host, the node's bare address, decides.
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
