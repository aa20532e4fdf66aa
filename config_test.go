package discoro

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"strings"
	"testing"
)

// contextDone returns a context that has ended.
func contextDone() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx, cancel
}

func TestConfigDefaults(t *testing.T) {
	t.Parallel()
	s, err := Config{}.settle()
	if err != nil {
		t.Fatal(err)
	}
	if s.listen != "127.0.0.1" || s.announced != "127.0.0.1" || s.reachable || s.protect != nil {
		t.Errorf("listens at %q, announces %q, reachable %v", s.listen, s.announced, s.reachable)
	}
	if host, err := os.Hostname(); err != nil || s.Name != host {
		t.Errorf("its name is %q, the host's %q, %v", s.Name, host, err)
	}
	if s.MaxMessage != DefaultMaxMessage || s.MsgTimeout != DefaultMsgTimeout || s.Logger == nil || s.pulse != MinPulseInterval {
		t.Errorf("settled as %+v", s.Config)
	}
	if _, err := one([]Config{{}, {}}); err == nil || !strings.Contains(err.Error(), "at most one") {
		t.Errorf("two configurations: %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	const secret = "sixteen characters and more"
	tests := []struct {
		name string
		cfg  Config
		want string // in the error; nothing: it is good
	}{
		{"nothing", Config{}, ""},
		{"all", Config{
			Name: "näme", Addr: "127.0.0.1", ExtAddr: "example.org", TCPPort: 65535, Secret: secret, MaxMessage: 1 << 30, MsgTimeout: 1,
			Peers: []string{"a.example:1", "[::1]:65535", "10.0.0.1:80"},
		}, ""},
		{"loopback by name", Config{Addr: "localhost"}, ""},
		{"loopback, IPv6", Config{Addr: "::1"}, ""},
		{"loopback, another", Config{Addr: "127.8.8.8"}, ""},
		{"all addresses, insecure", Config{Insecure: true}, ""},
		{"all addresses, named, insecure", Config{Addr: "0.0.0.0", Insecure: true}, ""},
		{"all addresses, with a secret", Config{Addr: "::", Secret: secret}, ""},
		{"all addresses", Config{Addr: "0.0.0.0"}, "set Secret (or certificates), or Insecure"},
		{"all addresses, IPv6", Config{Addr: "::"}, "set Secret"},
		{"another address", Config{Addr: "10.0.0.7"}, "Config.Addr: \"10.0.0.7\" can be reached from other machines"},
		{"a name that nobody knows", Config{Addr: "no-such-host.invalid"}, "set Secret"},
		{"a port in the address", Config{Addr: "127.0.0.1:80"}, "Config.Addr: \"127.0.0.1:80\" is not a host"},
		{"brackets", Config{Addr: "[::1]"}, "without brackets"},
		{"blanks", Config{ExtAddr: "my host"}, "Config.ExtAddr"},
		{"a long host", Config{ExtAddr: strings.Repeat("h", 256)}, "Config.ExtAddr"},
		{"a long name", Config{Name: strings.Repeat("n", 257)}, "Config.Name"},
		{"a name of two lines", Config{Name: "one\ntwo"}, "Config.Name"},
		{"a name that is no text", Config{Name: "\xff"}, "Config.Name"},
		{"port too low", Config{TCPPort: -1}, "Config.TCPPort: -1"},
		{"port too high", Config{TCPPort: 65536}, "Config.TCPPort"},
		{"negative size", Config{MaxMessage: -1}, "Config.MaxMessage"},
		{"large size", Config{MaxMessage: 1<<30 + 1}, "1 GiB"},
		{"negative time", Config{MsgTimeout: -1}, "Config.MsgTimeout"},
		{"a peer without a port", Config{Peers: []string{"good:1", "bad"}}, "discoro: Config.Peers: location \"bad\""},
		{"two kinds of certificates", Config{TLS: &tls.Config{}, CertFile: "x"}, "choose one"},
		{"TLS without a certificate", Config{TLS: &tls.Config{}}, "certificate"},
		{"a certificate that is not there", Config{CertFile: "no such file", CAFile: "nor this"}, "no such file"},
		{"a certificate without a CA", Config{CertFile: "x"}, "CAFile"},
		{"a CA alone", Config{CAFile: "x"}, "CertFile"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, err := tt.cfg.settle()
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("%v, want %q in it", err, tt.want)
			case err != nil && strings.Contains(err.Error(), secret):
				t.Error("the error has the secret")
			}
			s.awaitKey()
		})
	}
}

// closedByDefault looks at the listeners themselves.
func closedByDefault(t *testing.T) {
	t.Parallel()
	ip := func(rt *Runtime) net.IP { return rt.net.Addr().(*net.TCPAddr).IP }
	if rt := testRuntime(t, Config{}); !ip(rt).IsLoopback() || rt.loc.Addr != "127.0.0.1" || rt.loc.Port == 0 {
		t.Errorf("the zero Config listens at %v and announces %v", ip(rt), rt.loc)
	}
	if rt := testRuntime(t, Config{Secret: "sixteen characters and more"}); !ip(rt).IsUnspecified() || rt.loc.Addr == "" {
		t.Errorf("with a secret it listens at %v and announces %v", ip(rt), rt.loc)
	}
	if rt := testRuntime(t, Config{ExtAddr: "nat.example.org"}); !ip(rt).IsLoopback() || rt.loc.Addr != "nat.example.org" {
		t.Errorf("with an ExtAddr alone it listens at %v and announces %v", ip(rt), rt.loc)
	}
	if _, err := NewRuntime(Config{Addr: "0.0.0.0"}); err == nil || !strings.Contains(err.Error(), "set Secret") {
		t.Errorf("open without protection: %v", err)
	}
	// What counts is the address that the listener has, not what a name said before.
	s, err := Config{}.settle()
	if err != nil {
		t.Fatal(err)
	}
	s.listen = "0.0.0.0"
	if ln, _, err := s.open(); err == nil {
		ln.Close()
		t.Error("a name that changed its mind opened the runtime")
	}
}
