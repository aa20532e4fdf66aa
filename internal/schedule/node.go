package schedule

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/discoro/discoro/wire"
)

// node is a node.
type node struct {
	addr    string // its location: how statuses name it
	host    string // the host in addr
	offer   wire.Offer
	state   nodeState
	why     string // it is not used
	trouble string // with its servers, since the last one was ready
	servers []*server
	ready   serverHeap   // its initialized servers, the least loaded first
	load    int          // jobs at its servers
	usable  int          // its initialized servers
	index   int          // in the active computation's heap; -1 when it is not there
	told    *computation // whose client was told NodeDiscovered
	ignored *computation // whose client was told NodeIgnore, because of why
	left    *computation // which it has closed by its own decision, or idled out of: it is not asked to serve that again
	idled   string       // it is released because of that: nothing ran there
	stirred time.Time    // when something last did
	resting bool         // it has closed for us, and will offer itself again in a moment
	met     bool         // it has said of servers since it was reserved
	begun   bool         // NodeInitialized was told
}

type nodeState uint8

const (
	nodeIdle     nodeState = iota // not used
	nodeReserved                  // serves the active computation
	nodeReleased                  // was told to close, and has not said that it did
)

// offered takes what a node says of itself. Who it is, its link says.
func (s *State) offered(from wire.Peer, f *wire.Offer) {
	n := s.nodes[from.ID]
	if n == nil {
		n = &node{index: -1, addr: at(from), host: from.Host}
		s.nodes[from.ID] = n
		s.known = append(s.known, n)
	}
	if n.offer.Leaving != f.Leaving && n.state == nodeReserved {
		defer s.nodeLeaves(n) // or does no longer
	}
	n.offer, n.resting = *f, false
	n.offer.Node = from
	s.reserve(n)
}

// reserve makes the active computation use n, if it can.
func (s *State) reserve(n *node) {
	c := s.active
	if c == nil || c.closing || n.state != nodeIdle || n.left == c {
		return
	}
	if n.told != c {
		n.told = c
		s.status(wire.StatusNodeDiscovered, n, nil, "")
	}
	if why := s.unfit(n); why != "" {
		news := !n.resting && (n.ignored != c || n.why != why)
		if n.why = why; news {
			n.ignored = c
			s.status(wire.StatusNodeIgnore, n, nil, why)
		}
		return
	}
	n.state, n.met, n.begun, n.why, n.trouble, n.idled = nodeReserved, false, false, "", "", ""
	n.stirred = s.now
	s.watchIdle(time.Duration(n.offer.Zombie))
	s.send(n.offer.Node, &wire.Reserve{
		Token: c.submit.Token, Client: c.client, Pulse: c.submit.Pulse,
	})
}

// unfit says why a node cannot serve the active computation now; empty when it can.
func (s *State) unfit(n *node) string {
	if missing := lacks(n.offer.Functions, s.active.submit.Functions); missing != "" {
		return fmt.Sprintf("its program (%s) has not registered function %q", n.offer.Build, missing)
	}
	if why := filterOut(s.active.filters, n.host, &n.offer); why != "" {
		return why
	}
	if p := s.active.submit.Pulse; p > 0 && n.offer.MaxPulse > 0 && (p < n.offer.MinPulse || p > n.offer.MaxPulse) {
		return fmt.Sprintf("the computation's PulseInterval is %v, and the node takes %v to %v",
			time.Duration(p), time.Duration(n.offer.MinPulse), time.Duration(n.offer.MaxPulse))
	}
	if !n.offer.Free {
		return n.offer.Reason
	}
	return ""
}

// lacks returns the first of want that is not in have, which is sorted.
func lacks(have, want []string) string {
	for _, name := range want {
		if _, ok := slices.BinarySearch(have, name); !ok {
			return name
		}
	}
	return ""
}

// availed passes on what a node that serves the active computation has to spare.
func (s *State) availed(from wire.Peer, f *wire.Avail) {
	n := s.nodes[from.ID]
	if n == nil || n.state != nodeReserved || f.Token != s.active.submit.Token {
		return
	}
	n.offer.Memory, n.offer.Disk = f.Memory, f.Disk
	a := *f
	a.Node = n.addr
	s.tell(s.active, &a)
}

// released takes a node's word that its servers have closed, or that it refused to serve.
func (s *State) released(from wire.Peer, f *wire.Released) {
	n := s.nodes[from.ID]
	if n == nil || s.active == nil || f.Token != s.active.submit.Token || n.state == nodeIdle {
		return
	}
	unasked := n.state == nodeReserved
	refused := unasked && !n.met
	if f.Reason == "" && n.offer.Leaving && !s.active.closing {
		f.Reason = n.offer.Reason
	}
	reason := cmp.Or(f.Reason, n.idled, s.active.reason)
	s.dropServers(n, wire.StatusServerClosed, reason)
	n.offer.Free, n.offer.Reason, n.resting = false, reason, !unasked // until it offers itself again
	if n.resting {
		n.offer.Reason = "it is starting fresh servers"
	}
	n.why = cmp.Or(n.idled, n.offer.Reason)
	switch {
	case refused:
		n.ignored = s.active
		s.status(wire.StatusNodeIgnore, n, nil, reason)
	case unasked:
		n.left = s.active
		s.status(wire.StatusNodeClosed, n, nil, reason)
	default:
		s.status(wire.StatusNodeClosed, n, nil, reason)
	}
	s.nodeLeft(n)
}

// nodeLeft is idle, and the end of the computation when all its nodes are, the last of them because nothing ran there.
func (s *State) nodeLeft(n *node) {
	c := s.active
	s.idle(n)
	if n.idled != "" && s.active == c {
		s.discardIdle(n.idled)
	}
}

// idle books that a node serves the active computation no longer.
func (s *State) idle(n *node) {
	was := n.state
	n.state, s.moved = nodeIdle, true
	if was == nodeReleased {
		s.closing--
		s.closedIfReleased()
	}
}

func (s *State) loseNode(id wire.ID, n *node, reason string) {
	delete(s.nodes, id)
	s.known = slices.DeleteFunc(s.known, func(o *node) bool { return o == n })
	if n.state == nodeIdle {
		return
	}
	s.dropServers(n, wire.StatusServerDisconnected, "its node is gone: "+reason)
	s.status(wire.StatusNodeDisconnected, n, nil, reason)
	s.nodeLeft(n)
}
