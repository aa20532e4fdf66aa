package schedule

import (
	"time"

	"pgregory.net/rapid"

	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/wire"
)

// The moves of the peers of a world: each method is one move.

// zombieFrom draws a zombie period; most often none.
func zombieFrom(t *rapid.T) time.Duration {
	return time.Duration(max(0, rapid.IntRange(-20, 10).Draw(t, "zombie"))) * time.Second
}

// timePasses lets time pass, and calls Tick if Wake has come.
func (w *world) timePasses(t *rapid.T) {
	s := w.state
	s.now = s.now.Add(time.Duration(rapid.IntRange(1, 20).Draw(t, "seconds")) * time.Second)
	if !s.wake.IsZero() && !s.now.Before(s.wake) {
		s.Tick(s.now)
		w.record()
	}
	if s.active != nil && len(w.usable) > 0 {
		for f := range s.active.waiting.all() {
			if f.Where == (wire.Where{}) && len(s.active.nodes) > 0 {
				t.Fatalf("job %d waits, though there are servers", f.Job.Seq)
			}
		}
	}
	if !s.wake.IsZero() && !s.wake.After(s.now) {
		t.Fatalf("at %v it wants to look at %v", s.now, s.wake)
	}
}

func (w *world) offers(n *worldNode, free bool) {
	w.feed(n.peer, &wire.Offer{Free: free, Leaving: n.leaving, Reason: "busy", Zombie: int64(n.zombie)})
}

func (w *world) nodeComes(t *rapid.T) {
	n := &worldNode{peer: nodePeer(w.next()), zombie: zombieFrom(t)}
	w.nodes[n.peer.ID] = n
	w.offers(n, true)
}

func (w *world) nodeOffers(t *rapid.T) {
	n, ok := pickFrom(w, w.nodes, always)
	if !ok {
		return
	}
	free := rapid.Bool().Draw(t, "free") && len(n.asks) == 0 || n.ending && len(n.asks) > 0 // the second is a stale one
	n.leaving = !free && rapid.IntRange(0, 3).Draw(t, "leaves") == 0
	w.offers(n, free)
}

func (w *world) nodeReleases(t *rapid.T) {
	n, ok := pickFrom(w, w.nodes, func(n *worldNode) bool { return len(n.asks) > 0 })
	if !ok {
		return
	}
	token, reason := n.asks[0], ""
	if !n.ending {
		reason = "its own decision"
	}
	for id, sv := range w.servers { // a Release may arrive meanwhile: the scheduler does not know yet
		if sv.node == n && rapid.Bool().Draw(t, "server's link ends") {
			delete(w.servers, id)
			w.state.Down(w.state.now, id, "closed")
			w.record()
		}
	}
	n.asks, n.ending, n.over = nil, false, false
	w.feed(n.peer, &wire.Released{Token: token, Reason: reason})
	if rapid.Bool().Draw(t, "offers") && w.nodes[n.peer.ID] == n && len(n.asks) == 0 {
		n.leaving = false
		w.offers(n, true)
	}
}

func (w *world) nodeGoes(*rapid.T) {
	n, ok := pickFrom(w, w.nodes, always)
	if !ok {
		return
	}
	w.cut(n.peer)
	for id, sv := range w.servers {
		if sv.node == n {
			delete(w.servers, id)
			w.state.Down(w.state.now, id, "its node is gone")
			w.record()
		}
	}
}

func (w *world) serverComes(t *rapid.T) {
	n, ok := pickFrom(w, w.nodes, func(n *worldNode) bool { return len(n.asks) > 0 })
	if !ok {
		return
	}
	sv := &worldServer{peer: serverPeer(w.next()), node: n, token: n.asks[0]}
	w.servers[sv.peer.ID] = sv
	if rapid.Bool().Draw(t, "node says so first") {
		w.nodeSaysUp(sv)
	}
}

func (w *world) nodeSaysUp(sv *worldServer) {
	w.feed(sv.node.peer, &wire.Servers{Token: sv.token, Up: []wire.ServerInfo{{Peer: sv.peer}}})
}

func (w *world) serverReady(t *rapid.T) {
	sv, ok := pickFrom(w, w.servers, func(sv *worldServer) bool { return !sv.said })
	if !ok {
		return
	}
	sv.said = true
	f := &wire.Ready{Token: sv.token, Node: sv.node.peer.ID, Info: wire.ServerInfo{Peer: sv.peer}}
	if rapid.IntRange(0, 5).Draw(t, "fails") == 0 {
		f.Err = failure(fault.Disconnected)
	}
	w.feed(sv.peer, f)
	if w.nodes[sv.node.peer.ID] == sv.node && rapid.Bool().Draw(t, "node says so late") {
		w.nodeSaysUp(sv)
	}
}

func (w *world) serverGoes(t *rapid.T) {
	sv, ok := pickFrom(w, w.servers, always)
	if !ok {
		return
	}
	gone := &wire.Servers{Token: sv.token, Gone: []wire.ServerInfo{{Peer: sv.peer}}, Reason: "killed"}
	said := w.nodes[sv.node.peer.ID] == sv.node
	delete(w.servers, sv.peer.ID)
	if said && rapid.Bool().Draw(t, "node says so first") {
		w.feed(sv.node.peer, gone)
		said = false
	}
	w.cut(sv.peer)
	if said {
		w.feed(sv.node.peer, gone)
	}
}

func (w *world) submit(t *rapid.T) {
	n := w.next()
	c := &worldClient{
		peer: clientPeer(n), token: wire.Token{byte(n >> 8), byte(n)}, seen: map[string]int{},
		zombie: zombieFrom(t),
	}
	w.clients[c.peer.ID] = c
	w.feed(c.peer, &wire.Submit{Call: 1, Token: c.token, Zombie: int64(c.zombie)})
}

func (w *world) closes(*rapid.T) {
	c, ok := pickFrom(w, w.clients, always)
	if !ok {
		return
	}
	c.asked = true
	w.feed(c.peer, &wire.CloseComputation{Call: 2, Token: c.token})
}

func (w *world) clientGoes(*rapid.T) {
	c, ok := pickFrom(w, w.clients, always)
	if !ok {
		return
	}
	w.cut(c.peer)
}

func (w *world) run(t *rapid.T) {
	c, ok := pickFrom(w, w.clients, always)
	if !ok {
		return
	}
	j := &worldJob{client: c}
	switch rapid.IntRange(0, 5).Draw(t, "where") {
	case 0:
		if sv, ok := pickFrom(w, w.servers, always); ok {
			j.where = wire.Where{Host: "h", Port: sv.peer.Port}
		}
	case 1:
		if n, ok := pickFrom(w, w.nodes, always); ok {
			j.where = wire.Where{Node: locationOf(n.peer).String()}
		}
	}
	id := wire.JobID{Client: c.peer.ID, Seq: uint64(w.next())}
	w.jobs[id] = j
	w.feed(c.peer, &wire.Run{Token: c.token, Job: id, Where: j.where})
}

func (w *world) unrun(*rapid.T) {
	c, ok := pickFrom(w, w.clients, always)
	if !ok {
		return
	}
	for id, j := range w.jobs {
		if j.client == c && j.server == nil && j.ends == 0 {
			w.feed(c.peer, &wire.Unrun{Token: c.token, Job: id})
			if j.ends != 1 {
				w.t.Fatalf("job %v was taken back, and has not ended", id.Seq)
			}
			return
		}
	}
}

func (w *world) jobEnds(*rapid.T) {
	sv, ok := pickFrom(w, w.servers, func(sv *worldServer) bool { return len(sv.jobs) > 0 })
	if !ok {
		return
	}
	id := sv.jobs[0]
	sv.jobs = sv.jobs[1:]
	j := w.jobs[id]
	if j.ends == 0 { // otherwise the scheduler has given it up, and the server is late
		j.ends++
		j.unheard = true
		sv.unheard = append(sv.unheard, id)
		if _, ok := w.usable[sv.peer.ID]; ok {
			w.usable[sv.peer.ID]--
		}
	}
	w.feed(sv.peer, &wire.Freed{Token: sv.token, Job: id})
}

func (w *world) clientHears(t *rapid.T) {
	sv, ok := pickFrom(w, w.servers, func(sv *worldServer) bool { return len(sv.unheard) > 0 })
	if !ok {
		return
	}
	n := rapid.IntRange(1, len(sv.unheard)).Draw(t, "jobs")
	for _, id := range sv.unheard[:n] {
		w.jobs[id].unheard = false
	}
	sv.unheard = sv.unheard[n:]
	w.feed(sv.peer, &wire.Heard{Token: sv.token, Jobs: uint64(n)})
}
