package discoro

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/discoro/discoro/wire"
)

// schedState is what a scheduler's loop owns: it decides, and does nothing else. Each event returns effects, in order;
// there is no clock and no I/O.
type schedState struct {
	self      wire.ID       // immutable: the scheduler's runtime
	at        Location      // immutable: where nodes find it
	zombies   zombiePeriods // immutable
	leastPing time.Duration // immutable: what a computation may ask for

	leaving bool // nothing new is taken

	now  time.Time // of the current event
	wake time.Time // when tick is to be called; zero: not

	nodes   map[wire.ID]*schedNode
	servers map[wire.ID]*schedServer  // by the identity of their runtime
	places  map[Location]*schedServer // the same, by location
	known   []*schedNode              // in the order in which they were met
	queue   []*schedComp              // waiting for their turn
	active  *schedComp
	jobs    map[wire.JobID]*schedJob
	closing int      // nodes that were told to close, and have not said that they did
	moved   bool     // servers came or went in the current step: runs that wait are to be looked at
	out     []effect // of the current step
}

// effect is a frame to be sent, or a call to be answered.
type effect struct {
	to     wire.Peer
	frame  wire.Frame // nil: answer
	call   uint64
	answer outcome
}

// schedNode is a node.
type schedNode struct {
	addr    string // its location: how statuses name it
	host    string // the host in addr
	offer   wire.Offer
	state   nodeState
	why     string // it is not used
	trouble string // with its servers, since the last one was ready
	servers []*schedServer
	ready   serverHeap // its initialized servers, the least loaded first
	load    int        // jobs at its servers
	usable  int        // its initialized servers
	index   int        // in the active computation's heap; -1 when it is not there
	told    *schedComp // whose client was told NodeDiscovered
	ignored *schedComp // whose client was told NodeIgnore, because of why
	left    *schedComp // which it has closed by its own decision, or idled out of: it is not asked to serve that again
	idled   string     // it is released because of that: nothing ran there
	stirred time.Time  // when something last did
	resting bool       // it has closed for us, and will offer itself again in a moment
	met     bool       // it has said of servers since it was reserved
	begun   bool       // NodeInitialized was told
}

type nodeState uint8

const (
	nodeIdle     nodeState = iota // not used
	nodeReserved                  // serves the active computation
	nodeReleased                  // was told to close, and has not said that it did
)

// schedServer is one server of a node.
type schedServer struct {
	info  wire.ServerInfo
	node  *schedNode
	state serverState
	jobs  *schedJob // the first of those that it runs
	load  int       // how many they are
	index int       // in the node's heap; -1 when it is not there

	ended []*schedJob // those that have ended there, of which the client may not know
}

type serverState uint8

const (
	serverSettingUp serverState = iota
	serverReady
	serverIgnored
)

// schedComp is a computation.
type schedComp struct {
	submit   wire.Submit
	filters  []nodeFilter
	client   wire.Peer
	zombie   time.Duration // it closes when idle for that long; 0: never
	stirred  time.Time     // when something last ran, ended or was submitted
	place    int           // in the queue, as the client was told
	gone     bool          // the client is
	closing  bool
	reason   string    // it is closed because of that; empty when the client asked for it
	closers  []closer  // who asked for it
	waiting  runQueue  // runs that wait for a server
	spreads  time.Time // until then servers that are not ready count, too; zero: none do
	share    int       // of jobs, that a server may have until then; 0: any number
	fresh    bool      // usable and expected are counted, and no server has come or gone since
	counted  time.Time // when they were
	usable   int       // servers that take jobs
	expected int       // those, and the ones that are about to be ready
	nodes    nodeHeap  // with at least one usable server, least loaded first
}

type closer struct {
	peer wire.Peer
	call uint64
}

// schedJob is a run that was sent to a server, and has not ended.
type schedJob struct {
	id         wire.JobID
	fn         string
	server     *schedServer
	prev, next *schedJob // at that server
}

func newSchedState() *schedState {
	return &schedState{
		nodes: map[wire.ID]*schedNode{}, servers: map[wire.ID]*schedServer{}, places: map[Location]*schedServer{},
		jobs: map[wire.JobID]*schedJob{},
	}
}

// take returns the effects of the events since the last take.
func (s *schedState) take() []effect {
	out := s.out
	s.out = nil
	return out
}

func (s *schedState) send(to wire.Peer, f wire.Frame) {
	s.out = append(s.out, effect{to: to, frame: f})
}

func (s *schedState) reply(to wire.Peer, call uint64, out outcome) {
	if call != 0 {
		s.out = append(s.out, effect{to: to, call: call, answer: out})
	}
}

// tell sends to a computation's client, unless that is gone.
func (s *schedState) tell(c *schedComp, f wire.Frame) {
	if !c.gone {
		s.send(c.client, f)
	}
}

// status tells the client of the active computation.
func (s *schedState) status(kind StatusKind, n *schedNode, sv *schedServer, reason string) {
	c := s.active
	f := &wire.Status{Token: c.submit.Token, What: uint8(kind), Reason: reason}
	if n != nil {
		f.Node = n.addr
	}
	if sv != nil {
		f.Server = sv.info.Peer
	}
	s.tell(c, f)
}

// frame is the step for a frame from a peer.
func (s *schedState) frame(from wire.Peer, f wire.Frame) {
	switch f := f.(type) {
	case *wire.Offer:
		s.offered(from, f)
	case *wire.Servers:
		s.serversChanged(from, f)
	case *wire.Ready:
		s.serverReady(from, f)
	case *wire.Released:
		s.released(from, f)
	case *wire.Submit:
		s.submitted(from, f)
	case *wire.CloseJob:
		s.closeAsked(from, f)
	case *wire.Run:
		s.run(from, f)
	case *wire.Unrun:
		s.unrun(from, f)
	case *wire.Report:
		s.reply(from, f.Call, outcome{val: s.report(f.Token, f.Job)})
	case *wire.Avail:
		s.availed(from, f)
	case *wire.Freed:
		s.freed(from.ID, f.Job, false)
	case *wire.Done:
		s.freed(from.ID, f.Job, true)
	case *wire.Heard:
		s.heard(from.ID, f)
	}
	s.placeWaiting()
}

// offered takes what a node says of itself. Who it is, its link says.
func (s *schedState) offered(from wire.Peer, f *wire.Offer) {
	n := s.nodes[from.ID]
	if n == nil {
		n = &schedNode{index: -1, addr: peerLocation(from).String(), host: from.Host}
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
func (s *schedState) reserve(n *schedNode) {
	c := s.active
	if c == nil || c.closing || n.state != nodeIdle || n.left == c {
		return
	}
	if n.told != c {
		n.told = c
		s.status(NodeDiscovered, n, nil, "")
	}
	if why := s.unfit(n); why != "" {
		news := !n.resting && (n.ignored != c || n.why != why)
		if n.why = why; news {
			n.ignored = c
			s.status(NodeIgnore, n, nil, why)
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
func (s *schedState) unfit(n *schedNode) string {
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

// availed passes on what a node that serves the active computation has to spare.
func (s *schedState) availed(from wire.Peer, f *wire.Avail) {
	n := s.nodes[from.ID]
	if n == nil || n.state != nodeReserved || f.Token != s.active.submit.Token {
		return
	}
	n.offer.Memory, n.offer.Disk = f.Memory, f.Disk
	a := *f
	a.Node = n.addr
	s.tell(s.active, &a)
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

// serversChanged takes a node's word that servers came or went, or why they do not come.
func (s *schedState) serversChanged(from wire.Peer, f *wire.Servers) {
	n := s.nodes[from.ID]
	if n == nil || s.active == nil || f.Token != s.active.submit.Token || n.state == nodeIdle {
		return
	}
	if f.Reason != "" {
		n.trouble = f.Reason
	}
	for _, info := range f.Gone {
		if sv := s.servers[info.Peer.ID]; sv != nil && sv.node == n {
			s.dropServer(sv, ServerDisconnected, f.Reason)
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
func (s *schedState) discover(n *schedNode, info wire.ServerInfo) *schedServer {
	if sv := s.servers[info.Peer.ID]; sv != nil {
		return sv
	}
	loc := peerLocation(info.Peer)
	if old := s.places[loc]; old != nil { // its end is still to be seen: its host has started anew, say
		why := "another server has started at its location"
		if old.node != n {
			why += fmt.Sprintf(", of node %s: if both nodes live, their servers need addresses or ports that differ (ExtAddr, TCPPorts)", n.addr)
		}
		s.loseServer(old, why)
	}
	sv := &schedServer{info: info, node: n, index: -1}
	s.servers[info.Peer.ID], s.places[loc] = sv, sv
	n.servers = append(n.servers, sv)
	n.met = true
	s.status(ServerDiscovered, n, sv, "")
	return sv
}

// serverReady takes a server's word that it is set up, or could not be.
func (s *schedState) serverReady(from wire.Peer, f *wire.Ready) {
	if s.active == nil || f.Token != s.active.submit.Token || s.active.closing {
		return
	}
	n := s.nodes[f.Node]
	if n == nil || n.state != nodeReserved || f.Info.Peer.ID != from.ID {
		return
	}
	sv := s.discover(n, f.Info) // its word may be here before the node's
	if sv.node == n && sv.state == serverReady && f.Err != nil {
		s.dropServer(sv, ServerDisconnected, f.Err.Msg)
		return
	}
	if sv.node != n || sv.state != serverSettingUp {
		return
	}
	s.moved = true
	s.stir(n)
	if f.Err != nil {
		sv.state, n.trouble = serverIgnored, f.Err.Msg
		s.status(ServerIgnore, n, sv, f.Err.Msg)
		return
	}
	sv.state, n.trouble = serverReady, ""
	if !n.begun {
		n.begun = true
		s.status(NodeInitialized, n, nil, "")
	}
	s.status(ServerInitialized, n, sv, "")
	s.spread()
	if !n.offer.Leaving {
		s.active.nodes.add(sv)
	}
}

// released takes a node's word that its servers have closed, or that it refused to serve.
func (s *schedState) released(from wire.Peer, f *wire.Released) {
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
	s.dropServers(n, ServerClosed, reason)
	n.offer.Free, n.offer.Reason, n.resting = false, reason, !unasked // until it offers itself again
	if n.resting {
		n.offer.Reason = "it is starting fresh servers"
	}
	n.why = cmp.Or(n.idled, n.offer.Reason)
	switch {
	case refused:
		n.ignored = s.active
		s.status(NodeIgnore, n, nil, reason)
	case unasked:
		n.left = s.active
		s.status(NodeClosed, n, nil, reason)
	default:
		s.status(NodeClosed, n, nil, reason)
	}
	s.nodeLeft(n)
}

// nodeLeft is idle, and the end of the computation when all its nodes are, the last of them because nothing ran there.
func (s *schedState) nodeLeft(n *schedNode) {
	c := s.active
	s.idle(n)
	if n.idled != "" && s.active == c {
		s.discardIdle(n.idled)
	}
}

// idle books that a node serves the active computation no longer.
func (s *schedState) idle(n *schedNode) {
	was := n.state
	n.state, s.moved = nodeIdle, true
	if was == nodeReleased {
		s.closing--
		s.closedIfReleased()
	}
}

// dropServers forgets the servers of n; jobs that ran there are lost.
func (s *schedState) dropServers(n *schedNode, kind StatusKind, reason string) {
	for len(n.servers) > 0 {
		s.dropServer(n.servers[0], kind, reason)
	}
}

func (s *schedState) dropServer(sv *schedServer, kind StatusKind, reason string) {
	n, loc := sv.node, peerLocation(sv.info.Peer)
	s.moved = true
	s.active.nodes.remove(sv)
	delete(s.servers, sv.info.Peer.ID)
	if s.places[loc] == sv {
		delete(s.places, loc)
	}
	n.servers = slices.DeleteFunc(n.servers, func(o *schedServer) bool { return o == sv })
	for sv.jobs != nil {
		j := sv.jobs
		s.forget(j)
		s.tell(s.active, &wire.Done{Token: s.active.submit.Token, Job: j.id, Outcome: *failed(j.endedWith(kind, reason))})
	}
	for _, j := range sv.ended {
		if kind == ServerClosed && s.active.closing {
			break // in a moment every run ends; until then the client may hear of this one
		}
		s.tell(s.active, &wire.Unheard{Token: s.active.submit.Token, Job: j.id, Err: encodeError(j.unheardWith(kind, reason))})
	}
	if sv.state != serverIgnored {
		s.status(kind, n, sv, reason)
	}
}

// down is the step for the end of a link.
func (s *schedState) down(id wire.ID, reason string) {
	if sv := s.servers[id]; sv != nil {
		s.loseServer(sv, reason)
	}
	if n := s.nodes[id]; n != nil {
		s.loseNode(id, n, reason)
	}
	s.loseClient(id, reason)
	s.placeWaiting()
}

func (s *schedState) loseServer(sv *schedServer, reason string) {
	if sv.node.state == nodeReleased {
		s.dropServer(sv, ServerClosed, cmp.Or(sv.node.idled, s.active.reason))
		return
	}
	s.dropServer(sv, ServerDisconnected, reason)
	s.releaseIfLeft(sv.node)
}

func (s *schedState) loseNode(id wire.ID, n *schedNode, reason string) {
	delete(s.nodes, id)
	s.known = slices.DeleteFunc(s.known, func(o *schedNode) bool { return o == n })
	if n.state == nodeIdle {
		return
	}
	s.dropServers(n, ServerDisconnected, "its node is gone: "+reason)
	s.status(NodeDisconnected, n, nil, reason)
	s.nodeLeft(n)
}
