package lan

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
)

func TestBroadcastOf(t *testing.T) {
	t.Parallel()
	for prefix, want := range map[string]string{
		"10.1.2.3/8": "10.255.255.255", "192.0.2.2/24": "192.0.2.255", "192.0.2.2/30": "192.0.2.3", "192.0.2.129/25": "192.0.2.255",
		"192.0.2.2/31": "", "192.0.2.2/32": "", "fe80::1/64": "",
	} {
		got, ok := broadcastOf(netip.MustParsePrefix(prefix))
		if ok != (want != "") || ok && got.String() != want {
			t.Errorf("%s: %v", prefix, got)
		}
	}
}

func TestIsNear(t *testing.T) {
	t.Parallel()
	at := netip.MustParseAddr
	if IsNear(at("198.51.100.1")) || !IsNear(at("::1")) || !IsNear(at("fe80::1%eth0")) {
		t.Error("near is not near")
	}
}

// TestAskersClose keeps a search from leaving sockets or goroutines.
func TestAskersClose(t *testing.T) {
	t.Parallel()
	for _, local := range []bool{true, false} {
		a, err := NewAsker(local, 1)
		if err != nil {
			t.Fatal(err)
		}
		conns := slices.Clone(a.Conns())
		a.Close()
		for _, c := range conns {
			if _, err := c.Write(nil); !errors.Is(err, net.ErrClosed) {
				t.Errorf("%v is still open: %v", c.LocalAddr(), err)
			}
		}
		if err := a.Send([]byte("x")); err == nil {
			t.Error("sent on a closed socket")
		}
	}
}

// TestLoopback has two sockets of this machine hear one question, and one answer it.
func TestLoopback(t *testing.T) {
	t.Parallel()
	free, err := net.ListenUDP("udp4", &net.UDPAddr{})
	if err != nil {
		t.Fatal(err)
	}
	addr, _ := free.LocalAddr().(*net.UDPAddr)
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	read := func(conn *net.UDPConn) (string, netip.AddrPort) {
		t.Helper()
		buf := make([]byte, 100)
		_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n]), from
	}
	var hear []*net.UDPConn
	for range 2 {
		conns, err := Hear(loopback4, addr.Port)
		if err != nil {
			t.Fatal(err)
		}
		for _, conn := range conns {
			t.Cleanup(func() { _ = conn.Close() })
		}
		hear = append(hear, conns...)
	}
	a, err := NewAsker(true, addr.Port)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if err := a.Send([]byte("who?")); err != nil {
		t.Fatal(err)
	}
	var from netip.AddrPort
	for _, conn := range hear {
		var text string
		if text, from = read(conn); text != "who?" {
			t.Errorf("heard %q", text)
		}
	}
	if _, err := hear[0].WriteToUDPAddrPort([]byte("me"), from); err != nil {
		t.Fatal(err)
	}
	if text, _ := read(a.Conns()[0]); text != "me" {
		t.Errorf("answered %q", text)
	}
}
