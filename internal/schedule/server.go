package schedule

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/discoro/discoro/wire"
)

// server is one server of a node that serves the active computation.
type server struct {
	info    wire.ServerInfo
	node    *node
	state   serverState
	jobs    *job   // the first of the jobs that it runs
	load    int    // how many they are
	index   int    // in the node's serverHeap; -1: not in it
	unheard []*job // jobs that have ended there, and that its client may not know of, in order
}

// serverState says whether a server can be used.
type serverState uint8

const (
	serverSettingUp serverState = iota // it makes its links and receives the computation's files
	serverReady                        // it takes jobs
	serverFailed                       // it could not be set up
)

// String returns the state as operators see it.
func (s serverState) String() string {
	switch s {
	case serverSettingUp:
		return "is being set up"
	case serverReady:
		return "ready"
	case serverFailed:
	}
	return "could not be set up"
}

// serversChanged is a node's report that servers came or went, or why no server comes.
func (s *State) serversChanged(from wire.Peer, f *wire.Servers) {
	n := s.nodes[from.ID]
	if n == nil || s.active == nil || f.Token != s.active.submit.Token || n.state == nodeUnused {
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
	s.releaseIfDrained(n)
	if n.state != nodeReserved {
		return
	}
	for _, info := range f.Up {
		s.addServer(n, info)
	}
}

// addServer returns the server with the identity in info. A server that is not known yet is added to
// n, which serves the active computation.
func (s *State) addServer(n *node, info wire.ServerInfo) *server {
	if sv := s.servers[info.Peer.ID]; sv != nil {
		return sv
	}
	at := locationOf(info.Peer)
	if old := s.byLocation[at]; old != nil {
		// The end of old's link has not been seen yet, for example because its host has restarted.
		// Clients name servers by location, so old has to end before its successor begins.
		why := "another server has started at its location"
		if old.node != n {
			why += fmt.Sprintf(", of node %s: if both nodes live, their servers need addresses or ports that differ "+
				"(ExtAddr, TCPPorts)", n.addr)
		}
		s.loseServer(old, why)
	}
	sv := &server{info: info, node: n, index: -1}
	s.servers[info.Peer.ID], s.byLocation[at] = sv, sv
	n.servers = append(n.servers, sv)
	n.answered = true
	s.status(wire.StatusServerDiscovered, n, sv, "")
	return sv
}

// serverReady is a server's report that it is set up, could not be, or has lost its client.
func (s *State) serverReady(from wire.Peer, f *wire.Ready) {
	if s.active == nil || f.Token != s.active.submit.Token || s.active.closing {
		return
	}
	n := s.nodes[f.Node]
	if n == nil || n.state != nodeReserved || f.Info.Peer.ID != from.ID {
		return
	}
	sv := s.addServer(n, f.Info) // the server's report may arrive before the node's
	if sv.node == n && sv.state == serverReady && f.Err != nil {
		s.dropServer(sv, wire.StatusServerDisconnected, f.Err.Msg)
		return
	}
	if sv.node != n || sv.state != serverSettingUp {
		return
	}
	s.retry = true
	s.noteWork(n)
	if f.Err != nil {
		sv.state, n.trouble = serverFailed, f.Err.Msg
		s.status(wire.StatusServerIgnore, n, sv, f.Err.Msg)
		return
	}
	sv.state, n.trouble = serverReady, ""
	if !n.initialized {
		n.initialized = true
		s.status(wire.StatusNodeInitialized, n, nil, "")
	}
	s.status(wire.StatusServerInitialized, n, sv, "")
	s.startSpread()
	if !n.offer.Leaving {
		s.active.nodes.add(sv)
	}
}

// loseServer forgets a server whose link has ended.
func (s *State) loseServer(sv *server, reason string) {
	if sv.node.state == nodeReleasing {
		s.dropServer(sv, wire.StatusServerClosed, cmp.Or(sv.node.idleReason, s.active.reason))
		return
	}
	s.dropServer(sv, wire.StatusServerDisconnected, reason)
	s.releaseIfDrained(sv.node)
}

// dropServers drops all servers of n.
func (s *State) dropServers(n *node, kind uint8, reason string) {
	for len(n.servers) > 0 {
		s.dropServer(n.servers[0], kind, reason)
	}
}

// dropServer forgets a server. The client receives the end of each job that ran there (Done), each
// end that it may not have received (Unheard), and then a Status of that kind for the server
// itself, unless the server was never usable.
func (s *State) dropServer(sv *server, kind uint8, reason string) {
	n, at, token := sv.node, locationOf(sv.info.Peer), s.active.submit.Token
	s.retry = true
	s.active.nodes.remove(sv)
	delete(s.servers, sv.info.Peer.ID)
	if s.byLocation[at] == sv {
		delete(s.byLocation, at)
	}
	n.servers = slices.DeleteFunc(n.servers, func(o *server) bool { return o == sv })
	for sv.jobs != nil {
		j := sv.jobs
		s.removeJob(j)
		s.notify(s.active, &wire.Done{Token: token, Job: j.id, Outcome: *s.failed(s.endedWith(j, kind, reason))})
	}
	for _, j := range sv.unheard {
		if kind == wire.StatusServerClosed && s.active.closing {
			break // every run ends soon; until then the server may still send the client the end of this one
		}
		s.notify(s.active, &wire.Unheard{Token: token, Job: j.id, Err: s.cfg.Failure(s.unheardWith(j, kind, reason))})
	}
	if sv.state != serverFailed {
		s.status(kind, n, sv, reason)
	}
}
