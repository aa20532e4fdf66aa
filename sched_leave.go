package discoro

import "github.com/discoro/discoro/wire"

// Nodes that leave: they take no new jobs, and are released when they run none.

// takesJobs reports whether jobs may be sent to servers of n.
func (n *schedNode) takesJobs() bool { return n.state == nodeReserved && !n.offer.Leaving }

// nodeLeaves takes the servers of n from those that jobs go to, when n is leaving, and adds them again when it is no longer.
func (s *schedState) nodeLeaves(n *schedNode) {
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
func (s *schedState) releaseIfLeft(n *schedNode) {
	if n.offer.Leaving && n.load == 0 && n.state == nodeReserved {
		s.release(n)
	}
}

// release tells a node to end the active computation.
func (s *schedState) release(n *schedNode) {
	n.state = nodeReleased
	s.closing++
	s.send(n.offer.Node, &wire.Release{Token: s.active.submit.Token, Over: s.active.closing})
}
