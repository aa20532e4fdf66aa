package schedule

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/discoro/discoro/wire"
)

// node is a node that the scheduler has a link to.
type node struct {
	addr  string     // its location, as statuses name it
	host  string     // the host of addr
	offer wire.Offer // its latest Offer
	state nodeState

	// Until the node serves again:
	why        string // why it is not used
	restarting bool   // it has just served, and will offer itself again in a moment

	// While it serves the active computation:
	servers     []*server
	ready       serverHeap // the usable servers, the least loaded first
	usable      int        // how many they are
	load        int        // jobs at its servers
	index       int        // in the computation's nodeHeap; -1: not in it
	answered    bool       // it has announced a server since it was reserved
	initialized bool       // the client was sent NodeInitialized
	trouble     string     // what is wrong with its servers, since the last one became ready
	lastWork    time.Time  // when a run last started or ended there, or a server changed
	idleReason  string     // why it is released, when that is because nothing ran there

	// A computation that was active at the time of an event, which must not happen twice to it:
	announced *computation // its client was sent NodeDiscovered
	ignored   *computation // its client was sent NodeIgnore, because of why
	left      *computation // the node has left it by itself, or for idleness: it is not asked again
}

// nodeState says what a node does for the active computation.
type nodeState uint8

const (
	nodeUnused    nodeState = iota // nothing
	nodeReserved                   // it was sent a Reserve, and serves
	nodeReleasing                  // it was sent a Release, and has not sent Released
)

// takesJobs reports whether jobs may be sent to servers of n.
func (n *node) takesJobs() bool { return n.state == nodeReserved && !n.offer.Leaving }

// settingUp returns how many servers of n are not ready yet.
func (n *node) settingUp() int {
	count := 0
	for _, sv := range n.servers {
		if sv.state == serverSettingUp {
			count++
		}
	}
	return count
}

// offered records a node's Offer. The node's identity is that of its link.
func (s *State) offered(from wire.Peer, f *wire.Offer) {
	n := s.nodes[from.ID]
	if n == nil {
		n = &node{index: -1, addr: locationOf(from).String(), host: from.Host}
		s.nodes[from.ID] = n
		s.known = append(s.known, n)
	}
	leavingChanged := n.state == nodeReserved && n.offer.Leaving != f.Leaving
	n.offer, n.restarting = *f, false
	n.offer.Node = from
	s.reserve(n)
	if leavingChanged {
		s.leavingChanged(n)
	}
}

// reserve asks n to serve the active computation, if n can.
func (s *State) reserve(n *node) {
	c := s.active
	if c == nil || c.closing || n.state != nodeUnused || n.left == c {
		return
	}
	if n.announced != c {
		n.announced = c
		s.status(wire.StatusNodeDiscovered, n, nil, "")
	}
	if why := s.unfit(n); why != "" {
		isNew := n.ignored != c || n.why != why
		n.why = why
		if isNew && !n.restarting {
			n.ignored = c
			s.status(wire.StatusNodeIgnore, n, nil, why)
		}
		return
	}
	n.state, n.why, n.idleReason = nodeReserved, "", ""
	n.answered, n.initialized, n.trouble = false, false, ""
	n.lastWork = s.now
	s.wakeIn(time.Duration(n.offer.Zombie))
	s.send(n.offer.Node, &wire.Reserve{Token: c.submit.Token, Client: c.client, Pulse: c.submit.Pulse})
}

// unfit returns why n cannot serve the active computation now; empty when it can.
func (s *State) unfit(n *node) string {
	submit := &s.active.submit
	if missing := firstMissing(submit.Functions, n.offer.Functions); missing != "" {
		return fmt.Sprintf("its program (%s) has not registered function %q", n.offer.Build, missing)
	}
	if why := filterOut(s.active.filters, n.host, &n.offer); why != "" {
		return why
	}
	least, most := n.offer.MinPulse, n.offer.MaxPulse
	if p := submit.Pulse; p > 0 && most > 0 && (p < least || p > most) {
		return fmt.Sprintf("the computation's PulseInterval is %v, and the node takes %v to %v",
			time.Duration(p), time.Duration(least), time.Duration(most))
	}
	if !n.offer.Free {
		return n.offer.Reason
	}
	return ""
}

// firstMissing returns the first of want that is not in have, which is sorted; empty when all are.
func firstMissing(want, have []string) string {
	for _, name := range want {
		if _, ok := slices.BinarySearch(have, name); !ok {
			return name
		}
	}
	return ""
}

// availed passes the spare memory, disk and CPU of a node on to the client that it serves.
func (s *State) availed(from wire.Peer, f *wire.Avail) {
	n := s.nodes[from.ID]
	if n == nil || n.state != nodeReserved || f.Token != s.active.submit.Token {
		return
	}
	n.offer.Memory, n.offer.Disk = f.Memory, f.Disk
	a := *f
	a.Node = n.addr
	s.notify(s.active, &a)
}

// leavingChanged stops sending jobs to the servers of n when n has begun to leave, and resumes when
// it stays after all.
func (s *State) leavingChanged(n *node) {
	for _, sv := range n.servers {
		switch {
		case sv.state != serverReady:
		case n.offer.Leaving:
			s.active.nodes.remove(sv)
		case sv.index < 0:
			s.active.nodes.add(sv)
		}
	}
	s.retry = true
	s.releaseIfDrained(n)
}

// releaseIfDrained releases a node that is leaving and has no jobs.
func (s *State) releaseIfDrained(n *node) {
	if n.offer.Leaving && n.load == 0 && n.state == nodeReserved {
		s.release(n)
	}
}

// release asks a node to end its service to the active computation.
func (s *State) release(n *node) {
	n.state = nodeReleasing
	s.releasing++
	s.send(n.offer.Node, &wire.Release{Token: s.active.submit.Token, Over: s.active.closing})
}

// released is a node's answer to a Release: all its servers have closed. A node that was not asked
// has refused to serve, or has ended its service by itself.
func (s *State) released(from wire.Peer, f *wire.Released) {
	n := s.nodes[from.ID]
	if n == nil || s.active == nil || f.Token != s.active.submit.Token || n.state == nodeUnused {
		return
	}
	unasked := n.state == nodeReserved
	refused := unasked && !n.answered
	reason := f.Reason
	if reason == "" && n.offer.Leaving && !s.active.closing {
		reason = n.offer.Reason
	}
	reason = cmp.Or(reason, n.idleReason, s.active.reason)
	s.dropServers(n, wire.StatusServerClosed, reason)
	n.offer.Free, n.offer.Reason, n.restarting = false, reason, !unasked // until its next Offer
	if n.restarting {
		n.offer.Reason = "it is restarting its servers"
	}
	n.why = cmp.Or(n.idleReason, n.offer.Reason)
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
	s.serviceEnded(n)
}

// loseNode forgets a node whose link has ended.
func (s *State) loseNode(id wire.ID, n *node, reason string) {
	delete(s.nodes, id)
	s.known = slices.DeleteFunc(s.known, func(o *node) bool { return o == n })
	if n.state == nodeUnused {
		return
	}
	s.dropServers(n, wire.StatusServerDisconnected, "its node is gone: "+reason)
	s.status(wire.StatusNodeDisconnected, n, nil, reason)
	s.serviceEnded(n)
}

// serviceEnded records that n no longer serves the active computation. That ends the computation
// when it is closing and this was its last node, and closes it when all nodes have left for idleness.
func (s *State) serviceEnded(n *node) {
	c := s.active
	wasReleasing := n.state == nodeReleasing
	n.state, s.retry = nodeUnused, true
	if wasReleasing {
		s.releasing--
		s.endIfReleased()
	}
	if n.idleReason != "" && s.active == c {
		s.closeIfUnused(n.idleReason)
	}
}
