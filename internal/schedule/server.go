package schedule

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/discoro/discoro/wire"
)

// server is one server of a node.
type server struct {
	info  wire.ServerInfo
	node  *node
	state serverState
	jobs  *job // the first of those that it runs
	load  int  // how many they are
	index int  // in the node's heap; -1 when it is not there

	ended []*job // those that have ended there, of which the client may not know
}

type serverState uint8

const (
	serverSettingUp serverState = iota
	serverReady
	serverIgnored
)

// serversChanged takes a node's word that servers came or went, or why they do not come.
func (s *State) serversChanged(from wire.Peer, f *wire.Servers) {
	n := s.nodes[from.ID]
	if n == nil || s.active == nil || f.Token != s.active.submit.Token || n.state == nodeIdle {
		return
	}
	if f.Reason != "" {
		n.trouble = f.Reason
	}
	for _, info := range f.Gone {
		if sv := s.servers[info.Peer.ID]; sv != nil && sv.node == n {
			s.dropServer(sv, wire.StatusServerDisconnected, f.Reason)
		}
	}
	if s.releaseIfLeft(n); n.state != nodeReserved {
		return
	}
	for _, info := range f.Up {
		s.discover(n, info)
	}
}

// discover enters a server of a node that serves the active computation, unless it is known.
func (s *State) discover(n *node, info wire.ServerInfo) *server {
	if sv := s.servers[info.Peer.ID]; sv != nil {
		return sv
	}
	loc := placeOf(info.Peer)
	if old := s.places[loc]; old != nil { // its end is still to be seen: its host has started anew, say
		why := "another server has started at its location"
		if old.node != n {
			why += fmt.Sprintf(", of node %s: if both nodes live, their servers need addresses or ports that differ (ExtAddr, TCPPorts)", n.addr)
		}
		s.loseServer(old, why)
	}
	sv := &server{info: info, node: n, index: -1}
	s.servers[info.Peer.ID], s.places[loc] = sv, sv
	n.servers = append(n.servers, sv)
	n.met = true
	s.status(wire.StatusServerDiscovered, n, sv, "")
	return sv
}

// serverReady takes a server's word that it is set up, or could not be.
func (s *State) serverReady(from wire.Peer, f *wire.Ready) {
	if s.active == nil || f.Token != s.active.submit.Token || s.active.closing {
		return
	}
	n := s.nodes[f.Node]
	if n == nil || n.state != nodeReserved || f.Info.Peer.ID != from.ID {
		return
	}
	sv := s.discover(n, f.Info) // its word may be here before the node's
	if sv.node == n && sv.state == serverReady && f.Err != nil {
		s.dropServer(sv, wire.StatusServerDisconnected, f.Err.Msg)
		return
	}
	if sv.node != n || sv.state != serverSettingUp {
		return
	}
	s.moved = true
	s.stir(n)
	if f.Err != nil {
		sv.state, n.trouble = serverIgnored, f.Err.Msg
		s.status(wire.StatusServerIgnore, n, sv, f.Err.Msg)
		return
	}
	sv.state, n.trouble = serverReady, ""
	if !n.begun {
		n.begun = true
		s.status(wire.StatusNodeInitialized, n, nil, "")
	}
	s.status(wire.StatusServerInitialized, n, sv, "")
	s.spread()
	if !n.offer.Leaving {
		s.active.nodes.add(sv)
	}
}

// dropServers forgets the servers of n; jobs that ran there are lost.
func (s *State) dropServers(n *node, kind uint8, reason string) {
	for len(n.servers) > 0 {
		s.dropServer(n.servers[0], kind, reason)
	}
}

func (s *State) dropServer(sv *server, kind uint8, reason string) {
	n, loc := sv.node, placeOf(sv.info.Peer)
	s.moved = true
	s.active.nodes.remove(sv)
	delete(s.servers, sv.info.Peer.ID)
	if s.places[loc] == sv {
		delete(s.places, loc)
	}
	n.servers = slices.DeleteFunc(n.servers, func(o *server) bool { return o == sv })
	for sv.jobs != nil {
		j := sv.jobs
		s.forget(j)
		s.tell(s.active, &wire.Done{Token: s.active.submit.Token, Job: j.id, Outcome: *s.failed(s.endedWith(j, kind, reason))})
	}
	for _, j := range sv.ended {
		if kind == wire.StatusServerClosed && s.active.closing {
			break // in a moment every run ends; until then the client may hear of this one
		}
		s.tell(s.active, &wire.Unheard{Token: s.active.submit.Token, Job: j.id, Err: s.cfg.Failure(s.unheardWith(j, kind, reason))})
	}
	if sv.state != serverIgnored {
		s.status(kind, n, sv, reason)
	}
}

func (s *State) loseServer(sv *server, reason string) {
	if sv.node.state == nodeReleased {
		s.dropServer(sv, wire.StatusServerClosed, cmp.Or(sv.node.idled, s.active.reason))
		return
	}
	s.dropServer(sv, wire.StatusServerDisconnected, reason)
	s.releaseIfLeft(sv.node)
}
