package discoro

import (
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/discoro/discoro/internal/testkit"
	"github.com/discoro/discoro/internal/testnet"
)

func TestNodeConfigFields(t *testing.T) {
	t.Parallel()
	zero, err := NodeConfig{}.settle()
	if err != nil || zero.count != runtime.GOMAXPROCS(0) || zero.MinPulseInterval != MinPulseInterval || zero.MaxPulseInterval != MaxPulseInterval {
		t.Errorf("the zero config: %+v, %v", zero, err)
	}
	for name, c := range map[string]struct {
		cfg  NodeConfig
		says string // empty: good
	}{
		"zero":                {},
		"all of them":         {NodeConfig{Servers: 3, TCPPorts: []string{"2000-2001"}, MinPulseInterval: time.Second, MaxPulseInterval: time.Minute, ZombiePeriod: time.Hour, Serve: 1, ServiceStart: "17:00", ServiceStop: "07:00", ServiceEnd: "08:00"}, ""},
		"serves for ever":     {NodeConfig{Serve: -1}, ""},
		"no servers":          {NodeConfig{Servers: -100_000}, "NodeConfig.Servers"},
		"too many servers":    {NodeConfig{Servers: 100_000}, "NodeConfig.Servers"},
		"no port":             {NodeConfig{TCPPorts: []string{"http"}}, `NodeConfig.TCPPorts: "http"`},
		"no pulses":           {NodeConfig{MinPulseInterval: -1}, "NodeConfig.MinPulseInterval"},
		"less than none":      {NodeConfig{MaxPulseInterval: -1}, "NodeConfig.MaxPulseInterval"},
		"the wrong way round": {NodeConfig{MinPulseInterval: time.Hour}, "MaxPulseInterval, 1m40s"},
		"no zombies":          {NodeConfig{ZombiePeriod: -1}, "NodeConfig.ZombiePeriod"},
		"hours":               {NodeConfig{ServiceStart: "17:00"}, "NodeConfig.ServiceStart"},
	} {
		s, err := c.cfg.settle()
		switch {
		case c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%s: %v; want %q", name, err, c.says)
		case err == nil && (s.MinPulseInterval == 0 || s.MaxPulseInterval == 0 || len(s.ports) != s.count):
			t.Errorf("%s: not filled in: %+v", name, s)
		}
	}
}

func TestServerPorts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		list       []string
		count, own int
		want       []int
		says       string
	}{
		{nil, 2, 5000, []int{0, 0}, ""},
		{[]string{"2345-2347", "3799"}, 8, 0, []int{2345, 2346, 2347, 3799, 3800, 3801, 3802, 3803}, ""},
		{[]string{"51347"}, 8, 0, []int{51347, 51348, 51349, 51350, 51351, 51352, 51353, 51354}, ""},
		{[]string{"3799", "2345-2347"}, 5, 0, []int{3799, 2345, 2346, 2347, 3800}, ""},
		{[]string{" 10 - 12 "}, 2, 0, []int{10, 11}, ""},
		{[]string{"10"}, 3, 11, []int{10, 12, 13}, ""},
		{[]string{"65535"}, 1, 0, []int{65535}, ""},
		{[]string{"65534"}, 3, 0, nil, "too few for 3 servers"},
		{[]string{"10-12"}, 1, 11, nil, "11 is the node's own"},
		{[]string{"10-12", "12"}, 1, 0, nil, "12 is there twice"},
		{[]string{"12-10"}, 1, 0, nil, `"12-10"`},
		{[]string{"0"}, 1, 0, nil, `"0"`},
		{[]string{"70000"}, 1, 0, nil, `"70000"`},
		{[]string{"-1"}, 1, 0, nil, `"-1"`},
		{[]string{"1-2-3"}, 1, 0, nil, `"1-2-3"`},
		{[]string{""}, 1, 0, nil, `""`},
	} {
		got, err := serverPorts(c.list, c.count, c.own)
		if c.says != "" {
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%q: %v, %v; want %q", c.list, got, err, c.says)
			}
		} else if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%q: %v, %v; want %v", c.list, got, err, c.want)
		}
	}
}

// TestServerPortsInMemory gives servers ports of a network in memory. This machine's ports do not
// matter there.
func TestServerPortsInMemory(t *testing.T) {
	t.Parallel()
	n := testnet.NewInMemory()
	node, err := NewNode(NodeConfig{Config: Config{tuning: tuning{host: n.Host("north")}, UDPPort: -1}, Servers: 1, TCPPorts: []string{"4000"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := node.Close(); err != nil {
			t.Error(err)
		}
	}()
	testkit.Eventually(t, "the server is up", func() bool { return len(node.Servers()) == 1 })
	if at := node.Servers()[0]; at.Port != 4000 {
		t.Errorf("it is at %v", at)
	}
}
