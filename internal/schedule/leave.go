package schedule

import "github.com/discoro/discoro/wire"

// Nodes that leave: they take no new jobs, and are released when they run none.

// takesJobs reports whether jobs may be sent to servers of n.
func (n *node) takesJobs() bool { return n.state == nodeReserved && !n.offer.Leaving }

// nodeLeaves takes the servers of n from those that jobs go to, when n is leaving, and adds them again when it is no longer.
func (s *State) nodeLeaves(n *node) {
	for _, sv := range n.servers {
		switch {
		case sv.state != serverReady:
		case n.offer.Leaving:
			s.active.nodes.remove(sv)
		case sv.index < 0:
			s.active.nodes.add(sv)
		}
	}
	s.moved = true
	s.releaseIfLeft(n)
}

// releaseIfLeft releases a node that is leaving and has no jobs.
func (s *State) releaseIfLeft(n *node) {
	if n.offer.Leaving && n.load == 0 && n.state == nodeReserved {
		s.release(n)
	}
}

// release tells a node to end the active computation.
func (s *State) release(n *node) {
	n.state = nodeReleased
	s.closing++
	s.send(n.offer.Node, &wire.Release{Token: s.active.submit.Token, Over: s.active.closing})
}
