package link

import (
	"fmt"
	"net"
	"testing"
	"time"
)

// addrConn is a connection that only has an address.
type addrConn struct {
	net.Conn
	addr *net.TCPAddr
}

func (c addrConn) RemoteAddr() net.Addr { return c.addr }

func fromAddr(ip string, port int) addrConn {
	return addrConn{addr: &net.TCPAddr{IP: net.ParseIP(ip), Port: port}}
}

func TestGreetingsAreBounded(t *testing.T) {
	t.Parallel()
	start := time.Unix(1000, 0)
	var gs greetings
	var first *greeting
	for i := range MaxGreetingsAt {
		g, evicted := gs.add(fromAddr("10.0.0.1", i), start.Add(time.Duration(i)))
		if g == nil || evicted != nil {
			t.Fatalf("connection %d of one address: %v, %v", i, g, evicted)
		}
		if first == nil {
			first = g
		}
	}
	if g, evicted := gs.add(fromAddr("10.0.0.1", 99), start.Add(greetingTime-1)); g != nil || evicted != nil {
		t.Errorf("one too many: %v, %v", g, evicted)
	}
	other, evicted := gs.add(fromAddr("10.0.0.2", 1), start)
	if other == nil || evicted != nil {
		t.Errorf("another address: %v, %v", other, evicted)
	}
	g, evicted := gs.add(fromAddr("10.0.0.1", 99), start.Add(greetingTime))
	if g == nil || evicted != first {
		t.Errorf("one too many, later: %v in place of %v, not of the first", g, evicted)
	}
	gs.remove(first) // its greeting ends after that
	if n := len(gs.list); n != MaxGreetingsAt+1 {
		t.Errorf("%d are booked", n)
	}
	for i := len(gs.list); i < MaxGreetings; i++ {
		if g, _ := gs.add(fromAddr(fmt.Sprintf("10.1.0.%d", i), 1), start.Add(greetingTime)); g == nil {
			t.Fatalf("connection %d of many addresses is refused", i)
		}
	}
	late := start.Add(2 * greetingTime)
	oldest := gs.list[0]
	if g, evicted := gs.add(fromAddr("10.2.0.1", 1), late); g == nil || evicted != oldest {
		t.Errorf("one too many in total: %v in place of %v", g, evicted)
	}
	for len(gs.list) > 0 {
		gs.remove(gs.list[0])
	}
	gs.remove(other)
	if len(gs.count) != 0 {
		t.Errorf("addresses are left: %v", gs.count)
	}
}

func TestAddressOf(t *testing.T) {
	t.Parallel()
	for ip, want := range map[string]string{
		"10.0.0.7": "10.0.0.7", "::ffff:10.0.0.7": "10.0.0.7", "127.0.0.1": "127.0.0.1", "::1": "::1",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::", "2001:db8:1:2:ffff::": "2001:db8:1:2::",
	} {
		if got := addressOf(&net.TCPAddr{IP: net.ParseIP(ip), Port: 1}).String(); got != want {
			t.Errorf("%s counts as %s, want %s", ip, got, want)
		}
	}
	if got := addressOf(&net.UnixAddr{}); got.IsValid() {
		t.Errorf("no TCP address counts as %v", got)
	}
}
