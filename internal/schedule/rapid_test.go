package schedule

import (
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/discoro/discoro/wire"
)

// world plays every peer of a scheduler at random: nodes, servers and clients. There is no order between
// the frames of different links. It records what the state decides, and compares that with what is
// promised.
type world struct {
	t       *rapid.T
	state   *State
	last    int // number of the last peer, job or token
	nodes   map[wire.ID]*worldNode
	servers map[wire.ID]*worldServer
	clients map[wire.ID]*worldClient
	jobs    map[wire.JobID]*worldJob
	active  *worldClient    // whose computation is active, until its link ends
	usable  map[wire.ID]int // how many jobs each server has for which ServerInitialized was sent
}

type worldNode struct {
	peer   wire.Peer
	asks   []wire.Token // it was reserved for these, and has not sent Released
	ending bool         // a Release has arrived for the first of them
	over   bool         // and it was sent because the computation is over
	zombie time.Duration

	leaving bool // its last Offer said so
}

type worldServer struct {
	peer    wire.Peer
	node    *worldNode
	token   wire.Token
	said    bool // it has sent Ready
	jobs    []wire.JobID
	unheard []wire.JobID // ended, and the client may not know
}

type worldClient struct {
	peer     wire.Peer
	token    wire.Token
	asked    bool // to close it
	zombie   time.Duration
	statuses []string       // the statuses that it received, in order
	place    int            // in the queue; 0: not known yet
	seen     map[string]int // how far each node and server is: 1 discovered, 2 initialized
	over     bool
}

type worldJob struct {
	client  *worldClient
	where   wire.Where
	server  *worldServer // where it was started
	ends    int
	unheard bool // it ended, and the client may not know
}

func newWorld(t *rapid.T) *world {
	return &world{
		t: t, state: newState(), nodes: map[wire.ID]*worldNode{}, servers: map[wire.ID]*worldServer{},
		clients: map[wire.ID]*worldClient{}, jobs: map[wire.JobID]*worldJob{}, usable: map[wire.ID]int{},
	}
}

func (w *world) next() int { w.last++; return w.last }

// pickFrom draws one of those that are ok, if there are any.
func pickFrom[V any](w *world, m map[wire.ID]V, ok func(V) bool) (v V, found bool) {
	keys := slices.SortedFunc(maps.Keys(m), wire.ID.Compare)
	keys = slices.DeleteFunc(keys, func(k wire.ID) bool { return !ok(m[k]) })
	if len(keys) == 0 {
		return v, false
	}
	return m[rapid.SampledFrom(keys).Draw(w.t, "which")], true
}

func always[V any](V) bool { return true }

// feed gives the state a frame and records the effects.
func (w *world) feed(from wire.Peer, f wire.Frame) {
	w.state.Frame(w.state.now, from, f)
	w.record()
}

func (w *world) cut(p wire.Peer) {
	delete(w.nodes, p.ID)
	delete(w.servers, p.ID)
	if w.active != nil && w.active.peer.ID == p.ID {
		w.rest()
	}
	delete(w.clients, p.ID)
	w.state.Down(w.state.now, p.ID, "cut")
	w.record()
}

// rest records that no client receives anything about servers any more.
func (w *world) rest() {
	w.active = nil
	clear(w.usable)
}

func (w *world) record() {
	for _, e := range w.state.Take() {
		switch f := e.Frame.(type) {
		case nil:
			if w.clients[e.To.ID] == nil {
				w.t.Fatalf("an answer to %v, who is gone", peerName(e.To))
			}
		case *wire.Reserve:
			n := w.nodes[e.To.ID]
			if n == nil || n.ending {
				w.t.Fatalf("a Reserve for %v, which is gone or has not closed", peerName(e.To))
			}
			n.asks = append(n.asks, f.Token)
			if len(n.asks) > 1 {
				w.t.Fatalf("%v is reserved twice", peerName(e.To))
			}
		case *wire.Release:
			n := w.nodes[e.To.ID]
			if n == nil || len(n.asks) != 1 || n.asks[0] != f.Token || n.ending && (n.over || !f.Over) {
				w.t.Fatalf("a Release for %v, which does not serve", peerName(e.To))
			}
			if f.Over != w.state.active.closing {
				w.t.Fatalf("a Release for %v, with over=%v", peerName(e.To), f.Over)
			}
			if !n.ending {
				w.recordIdle(n)
			}
			n.ending, n.over = true, f.Over
		case *wire.Start:
			w.recordStart(e.To, f)
		case *wire.Done:
			w.recordDone(e.To, f)
		case *wire.Unheard:
			j := w.jobs[f.Job]
			if j == nil || !j.unheard || j.client.peer != e.To {
				w.t.Fatalf("%v receives an Unheard of job %v", peerName(e.To), f.Job.Seq)
			}
			j.unheard = false
		case *wire.Status:
			w.recordStatus(e.To, f)
		case *wire.Queued:
			w.recordQueued(e.To, f)
		default:
			w.t.Fatalf("unexpected %T", f)
		}
	}
}

// recordIdle checks a Release that nobody asked for against what runs.
func (w *world) recordIdle(n *worldNode) {
	if c := w.active; c == nil || c.asked || c.zombie == 0 && n.zombie == 0 && !n.leaving {
		if c != nil && !c.asked {
			w.t.Fatalf("%v is released from a computation that is not closing", peerName(n.peer))
		}
		return
	}
	for id, jobs := range w.usable {
		if w.servers[id].node == n && jobs > 0 {
			w.t.Fatalf("%v is released with %d jobs at %v", peerName(n.peer), jobs, peerName(w.servers[id].peer))
		}
	}
	maps.DeleteFunc(w.usable, func(id wire.ID, _ int) bool { return w.servers[id].node == n })
}

// recordQueued checks a position in the queue against the one before: no computation moves back.
func (w *world) recordQueued(to wire.Peer, f *wire.Queued) {
	c := w.clients[to.ID]
	if c == nil || c.token != f.Token || c.over || len(c.statuses) > 0 ||
		f.Position < 1 || c.place > 0 && f.Position >= c.place {
		w.t.Fatalf("%v receives position %d: %+v", peerName(to), f.Position, c)
	}
	c.place = f.Position
}

func (w *world) recordStart(to wire.Peer, f *wire.Start) {
	j, sv := w.jobs[f.Job], w.servers[to.ID]
	switch {
	case sv == nil:
		w.t.Fatalf("job %v is started at %v, which is gone", f.Job.Seq, peerName(to))
		return
	case j.server != nil || j.ends > 0:
		w.t.Fatalf("job %v is started at %v, a second time", f.Job.Seq, peerName(to))
	}
	if _, ok := w.usable[to.ID]; !ok {
		w.t.Fatalf("job %v is started at %v, which was not initialized", f.Job.Seq, peerName(to))
	}
	w.checkChoice(j, sv)
	j.server = sv
	sv.jobs = append(sv.jobs, f.Job)
	w.usable[to.ID]++
}

// checkChoice compares the choice of a server with a naive one.
func (w *world) checkChoice(j *worldJob, chosen *worldServer) {
	if chosen.node.leaving || chosen.node.ending {
		w.t.Fatalf("started at %v, which is leaving", peerName(chosen.node.peer))
	}
	load, servers := map[*worldNode]int{}, map[*worldNode]int{}
	for id, n := range w.usable {
		node := w.servers[id].node
		load[node] += n
		servers[node]++
	}
	ratio := func(n *worldNode) float64 { return float64(load[n]) / float64(servers[n]) }
	for id, n := range w.usable {
		sv := w.servers[id]
		switch {
		case sv.node.leaving || sv.node.ending:
		case j.where.Port != 0:
			if chosen.peer.Port != j.where.Port {
				w.t.Fatalf("started at %v, not at port %d", peerName(chosen.peer), j.where.Port)
			}
		case j.where.Node != "" && locationOf(chosen.node.peer).String() != j.where.Node:
			w.t.Fatalf("started at a server of %v, not of %v", peerName(chosen.node.peer), j.where.Node)
		case sv.node == chosen.node && n < w.usable[chosen.peer.ID]:
			w.t.Fatalf("%v has %d jobs, %v has %d and was chosen", peerName(sv.peer), n, peerName(chosen.peer),
				w.usable[chosen.peer.ID])
		case j.where.Node == "" && ratio(sv.node) < ratio(chosen.node)-1e-9:
			w.t.Fatalf("node %v has %v jobs a server, %v has %v and was chosen", peerName(sv.node.peer),
				ratio(sv.node), peerName(chosen.node.peer), ratio(chosen.node))
		}
	}
}

func (w *world) recordDone(to wire.Peer, f *wire.Done) {
	j := w.jobs[f.Job]
	if w.clients[to.ID] == nil || j.client.peer.ID != to.ID {
		w.t.Fatalf("the end of job %v is sent to %v", f.Job.Seq, peerName(to))
	}
	if j.ends++; j.ends > 1 {
		w.t.Fatalf("job %v ended twice", f.Job.Seq)
	}
	if j.server != nil {
		if _, ok := w.usable[j.server.peer.ID]; ok {
			w.usable[j.server.peer.ID]--
		}
	}
}

func (w *world) recordStatus(to wire.Peer, f *wire.Status) {
	c := w.clients[to.ID]
	text := statusText(f)
	if c == nil || c.token != f.Token || c.over {
		w.t.Fatalf("%v is sent to %v, which is gone or has finished", text, peerName(to))
	}
	c.statuses = append(c.statuses, text)
	key := f.Node
	if f.Server.Port != 0 {
		key = locationOf(f.Server).String()
	}
	bad := ""
	switch f.What {
	case wire.StatusComputationScheduled:
		if len(c.statuses) > 1 {
			bad = "first"
		}
		w.active = c
	case wire.StatusNodeDiscovered, wire.StatusServerDiscovered:
		if f.What == wire.StatusServerDiscovered && c.seen[f.Node] != 1 && c.seen[f.Node] != 2 {
			bad = "after its node is discovered, and before that is closed"
		}
		c.seen[key] = 1
	case wire.StatusNodeInitialized, wire.StatusServerInitialized:
		if c.seen[key] != 1 || f.What == wire.StatusServerInitialized && c.seen[f.Node] != 2 {
			bad = "after discovered, and after its node is initialized"
		}
		c.seen[key] = 2
		if f.What == wire.StatusServerInitialized {
			w.usable[w.serverAt(f.Server)] = 0
		}
	case wire.StatusNodeIgnore, wire.StatusServerIgnore:
		if c.seen[key] == 0 {
			bad = "after discovered"
		}
	case wire.StatusNodeClosed, wire.StatusNodeDisconnected:
		for _, sv := range w.state.servers {
			if sv.node.addr == f.Node {
				bad = "after its servers"
			}
		}
		c.seen[key] = 1 // it may serve again
	case wire.StatusServerClosed, wire.StatusServerDisconnected:
		if c.seen[key] == 0 {
			bad = "after discovered"
		}
		c.seen[key] = 0
		maps.DeleteFunc(w.usable, func(id wire.ID, _ int) bool { return portOf(id) == f.Server.Port })
	case wire.StatusComputationClosed:
		c.over = true
		if c == w.active {
			w.rest()
		}
	case wire.StatusCoroCreated:
		bad = "never from a scheduler"
	default:
		bad = "never"
	}
	if bad != "" {
		w.t.Fatalf("sent %v, which must come %s; before that: %v", text, bad, c.statuses)
	}
}

// portOf returns the port of a server by its identity.
func portOf(id wire.ID) int { return peer('s', int(id[1])<<8|int(id[2])).Port }

func (w *world) serverAt(p wire.Peer) wire.ID { return serverPeer(p.Port - 2000).ID }

// check compares the state's records with the world's.
func (w *world) check(t *rapid.T) {
	s := w.state
	jobs, closing := 0, 0
	for _, n := range s.known {
		load, usable := 0, 0
		for _, sv := range n.servers {
			count := 0
			for j := sv.jobs; j != nil; j = j.next {
				count++
				if s.jobs[j.id] != j || j.server != sv {
					t.Fatalf("job %v is recorded at the wrong server", j.id.Seq)
				}
			}
			if sv.load != count || count < 0 {
				t.Fatalf("%v has load %d, and %d jobs", peerName(sv.info.Peer), sv.load, count)
			}
			if want, ok := w.usable[sv.info.Peer.ID]; ok && want != count {
				t.Fatalf("%v has %d jobs, want %d", peerName(sv.info.Peer), count, want)
			}
			takesJobs := sv.state == serverReady && !n.offer.Leaving
			if sv.index >= 0 && sv.state != serverReady || n.state == nodeReserved && (sv.index >= 0) != takesJobs {
				t.Fatalf("%v is in state %d, with index %d", peerName(sv.info.Peer), sv.state, sv.index)
			}
			load += count
			if sv.index >= 0 {
				usable++
			}
		}
		if n.load != load || n.usable != usable || len(n.ready) != usable || (n.index >= 0) != (usable > 0) {
			t.Fatalf("node %v: load %d, want %d; usable %d, want %d; index %d", n.addr, n.load, load, n.usable, usable, n.index)
		}
		if n.state == nodeReleasing {
			closing++
		}
		jobs += load
	}
	if len(s.jobs) != jobs || s.releasing != closing {
		t.Fatalf("%d jobs, %d at servers; %d nodes closing, want %d", len(s.jobs), jobs, s.releasing, closing)
	}
	for i, c := range s.queue {
		if wc := w.clients[c.client.ID]; wc == nil || wc.place != i+1 {
			t.Fatalf("number %d of the queue received another position, or is gone: %+v", i+1, wc)
		}
	}
	w.checkUnheard(t)
	if s.active == nil && (len(s.queue) > 0 || len(s.servers) > 0 || jobs > 0) {
		t.Fatal("nothing is active, and something is left")
	}
}

// checkUnheard checks that a client which may not know of a run's end will be notified of it, unless
// the end of its computation is notification enough.
func (w *world) checkUnheard(t *rapid.T) {
	s := w.state
	for id, j := range w.jobs {
		if !j.unheard || j.client.over || w.clients[j.client.peer.ID] == nil {
			continue
		}
		if s.active == nil || s.active.client.ID != j.client.peer.ID {
			t.Fatalf("job %v has ended, and its computation is neither active nor over", id.Seq)
		}
		if s.active.closing {
			continue
		}
		sv := s.servers[j.server.peer.ID]
		if sv == nil || !slices.ContainsFunc(sv.unheard, func(o *job) bool { return o.id == id }) {
			t.Fatalf("job %v has ended at %v, its client may not know, and nobody will tell", id.Seq, peerName(j.server.peer))
		}
	}
}

// finish lets every peer do what it still has to, and checks that nothing is left.
func (w *world) finish() {
	for range 2 * (len(w.clients) + 1) {
		for _, c := range w.clients {
			c.asked = true
			w.feed(c.peer, &wire.CloseComputation{Call: 2, Token: c.token})
		}
		for _, n := range w.nodes {
			if n.ending {
				token := n.asks[0]
				n.asks, n.ending, n.over = nil, false, false
				w.feed(n.peer, &wire.Released{Token: token})
			}
		}
	}
	if w.state.active != nil || len(w.state.queue) > 0 || len(w.state.jobs) > 0 {
		w.t.Fatalf("computations or jobs are left: %+v", w.state)
	}
	for _, c := range w.clients {
		if !c.over {
			w.t.Fatalf("%v never received ComputationClosed: %v", peerName(c.peer), c.statuses)
		}
	}
	for id, j := range w.jobs {
		if j.ends != 1 && w.clients[j.client.peer.ID] != nil {
			w.t.Fatalf("job %v ended %d times", id.Seq, j.ends)
		}
	}
}

func TestSchedStateRapid(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		w.submit(t)
		for range rapid.IntRange(0, 3).Draw(t, "nodes") {
			w.nodeComes(t)
			for range rapid.IntRange(0, 3).Draw(t, "its servers") {
				w.serverComes(t)
				w.serverReady(t)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) { w.t = t; w.check(t) }, "node comes": w.nodeComes, "node offers": w.nodeOffers,
			"node releases": w.nodeReleases, "node goes": w.nodeGoes,
			"server comes": w.serverComes, "server comes too": w.serverComes, "server is ready": w.serverReady,
			"server is ready too": w.serverReady, "server goes": w.serverGoes,
			"submit": w.submit, "close": w.closes, "client goes": w.clientGoes,
			"run": w.run, "run too": w.run, "run as well": w.run, "run again": w.run, "run more": w.run,
			"time passes": w.timePasses, "unrun": w.unrun, "job ends": w.jobEnds, "job ends too": w.jobEnds,
			"client hears": w.clientHears,
		})
		w.t = t
		w.finish()
	})
}
