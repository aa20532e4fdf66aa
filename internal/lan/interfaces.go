package lan

import (
	"net"
	"net/netip"
	"slices"
)

// maxInterfaces bounds how many interfaces questions go out over.
const maxInterfaces = 64

// netInterfaces are the interfaces that questions go out over. Loopback is not among them.
type netInterfaces struct {
	four []netip.Prefix  // IPv4 addresses with their networks
	six  []net.Interface // those with an IPv6 address
}

func interfaces() netInterfaces {
	var all netInterfaces
	ifs, err := net.Interfaces()
	if err != nil {
		return all
	}
	for _, i := range ifs {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 ||
			len(all.four) >= maxInterfaces || len(all.six) >= maxInterfaces {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		has6 := false
		for _, a := range addrs {
			p, ok := prefixOf(a)
			if ok && p.Addr().Is4() {
				all.four = append(all.four, p)
			}
			has6 = has6 || ok && p.Addr().Is6()
		}
		if has6 && i.Flags&net.FlagMulticast != 0 {
			all.six = append(all.six, i)
		}
	}
	return all
}

// prefixOf returns an interface's address with its network.
func prefixOf(a net.Addr) (netip.Prefix, bool) {
	n, ok := a.(*net.IPNet)
	if !ok {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if !ok || bits == 0 {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(addr.Unmap(), ones), true
}

// broadcastOf returns the broadcast address of a network, if it has one.
func broadcastOf(p netip.Prefix) (netip.Addr, bool) {
	if !p.Addr().Is4() || p.Bits() > 30 || p.Bits() < 0 {
		return netip.Addr{}, false
	}
	a := p.Masked().Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		a[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(a), true
}

// IsNear reports whether an address is in one of this host's own networks.
func IsNear(addr netip.Addr) bool {
	if addr.IsLoopback() || addr.IsLinkLocalUnicast() {
		return true
	}
	addrs, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(addrs, func(a net.Addr) bool {
		p, ok := prefixOf(a)
		return ok && p.Contains(addr.WithZone(""))
	})
}
