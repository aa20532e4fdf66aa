package schedule

import (
	"slices"
	"strings"
	"testing"

	"github.com/discoro/discoro/wire"
)

func TestFilterOut(t *testing.T) {
	t.Parallel()
	offer := &wire.Offer{Platform: "linux/amd64", CPUs: 4, Memory: 1000, Disk: 500}
	for name, tt := range map[string]struct {
		filters []wire.NodeFilter
		host    string
		why     string // a part of the reason; empty: the node is used
	}{
		"no filter":    {nil, "10.0.0.7", ""},
		"an empty one": {[]wire.NodeFilter{{}}, "10.0.0.7", ""},
		"all fits": {
			[]wire.NodeFilter{{Addr: "10.0", Platform: "LINUX.*64", CPUs: 4, Memory: 1000, Disk: 500}},
			"10.0.0.7", "",
		},
		"too few servers": {[]wire.NodeFilter{{CPUs: 5}}, "10.0.0.7", "4 servers, filter 1 wants 5"},
		"too little memory": {
			[]wire.NodeFilter{{Memory: 1001}},
			"10.0.0.7",
			"1000 bytes of memory available, filter 1 wants 1001",
		},
		"too little disk":      {[]wire.NodeFilter{{Disk: 501}}, "10.0.0.7", "500 bytes of disk free"},
		"another platform":     {[]wire.NodeFilter{{Platform: "darwin|windows"}}, "10.0.0.7", "its platform is linux/amd64"},
		"the first decides":    {[]wire.NodeFilter{{Addr: "10", CPUs: 99}, {CPUs: 1}}, "10.0.0.7", "filter 1 wants 99"},
		"the first that fits":  {[]wire.NodeFilter{{Addr: "192", CPUs: 99}, {CPUs: 1}}, "10.0.0.7", ""},
		"none matches":         {[]wire.NodeFilter{{Addr: "192", CPUs: 99}}, "10.0.0.7", ""},
		"from the start":       {[]wire.NodeFilter{{Addr: "0.0.7", CPUs: 99}}, "10.0.0.7", ""},
		"alternatives, too":    {[]wire.NodeFilter{{Addr: "192|0.0", CPUs: 99}}, "10.0.0.7", ""},
		"to the end if wanted": {[]wire.NodeFilter{{Addr: "10.0.0.7$", CPUs: 99}}, "10.0.0.77", ""},
		"IPv6":                 {[]wire.NodeFilter{{Addr: "fe80::", CPUs: 99}}, "fe80::1", "filter 1"},
	} {
		ready, err := compileFilters(tt.filters)
		if err != nil {
			t.Fatal(err)
		}
		if why := filterOut(ready, tt.host, offer); (why == "") != (tt.why == "") || !strings.Contains(why, tt.why) {
			t.Errorf("%s: %q, want %q", name, why, tt.why)
		}
	}
}

func TestFiltersRefused(t *testing.T) {
	t.Parallel()
	for says, filters := range map[string][]wire.NodeFilter{
		"NodeFilters[1].Addr: error parsing":     {{}, {Addr: "("}},
		"NodeFilters[0].Addr: ":                  {{Addr: "a)|(b"}}, // would end the group around it
		"NodeFilters[0].Platform: error parsing": {{Platform: "[z-a]"}},
		"NodeFilters[0].Addr: a pattern of":      {{Addr: strings.Repeat("x", maxPattern+1)}},
		"NodeFilters[0].CPUs: -1 is negative":    {{CPUs: -1}},
		"1025, at most 1024":                     make([]wire.NodeFilter, maxFilters+1),
		"NodeFilters[0].Addr: the patterns up":   {{Addr: strings.Repeat("x{1000}", 140)}}, // megabytes when compiled
		"NodeFilters[72].Platform: the patterns": slices.Repeat([]wire.NodeFilter{{Platform: "x{900}"}}, maxFilters),
	} {
		if err := CheckFilters(filters); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
}
