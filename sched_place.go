package discoro

import (
	"cmp"
	"container/heap"
	"fmt"
	"slices"

	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/wire"
)

// Which server a run goes to: the least loaded server of the least loaded node, in time that grows with the logarithm
// of their number. Load is counted when a run is sent, not when the answer comes.

// run places a run, or lets it wait for a server.
func (s *schedState) run(from wire.Peer, f *wire.Run) {
	c := s.active
	if c == nil || c.submit.Token != f.Token || c.client.ID != from.ID || c.closing {
		s.send(from, refused(f, fmt.Errorf("the computation is not active: %w", ErrClosed)))
		return
	}
	s.stir(nil)
	if f.Job.Client != from.ID || s.jobs[f.Job] != nil || c.waiting.has(f.Job) {
		s.send(from, refused(f, fmt.Errorf("the job's number is not the client's to give, or was given before: %w", ErrRejected)))
		return
	}
	s.setShare(1)
	if s.place(f) {
		return
	}
	if err := c.waiting.full(f); err != nil && from.ID != s.self {
		s.refuse(f, err)
		return
	}
	c.waiting.add(f)
}

// place sends a run of the active computation to a server, or refuses it; it reports false when the run has to wait.
func (s *schedState) place(f *wire.Run) bool {
	sv, err := s.pick(&f.Where)
	switch {
	case err != nil:
		s.refuse(f, err)
	case sv == nil:
		return false
	default:
		s.book(&schedJob{id: f.Job, fn: f.Call.Func, server: sv})
		s.send(sv.info.Peer, &wire.Start{Token: f.Token, Job: f.Job, Turn: f.Turn, Call: f.Call})
	}
	return true
}

// placeWaiting looks again at the runs that wait, when servers came or went in this step.
func (s *schedState) placeWaiting() {
	moved := s.moved
	s.moved = false
	if !moved || s.active == nil {
		return
	}
	s.active.fresh = false
	if s.active.waiting.len() == 0 {
		return
	}
	s.setShare(0)
	s.active.waiting.place(s.place)
}

// book counts a job at its server, and forget no longer.
func (s *schedState) book(j *schedJob) {
	s.jobs[j.id] = j
	if j.next = j.server.jobs; j.next != nil {
		j.next.prev = j
	}
	j.server.jobs = j
	s.stir(j.server.node)
	s.active.nodes.addLoad(j.server, 1)
}

func (s *schedState) forget(j *schedJob) {
	delete(s.jobs, j.id)
	defer func() { j.next, j.prev = nil, nil }()
	if j.next != nil {
		j.next.prev = j.prev
	}
	if j.prev != nil {
		j.prev.next = j.next
	} else {
		j.server.jobs = j.next
	}
	s.stir(j.server.node)
	s.active.nodes.addLoad(j.server, -1)
}

func (s *schedState) refuse(f *wire.Run, err error) { s.tell(s.active, refused(f, err)) }

// refused is how a run ends that never starts.
func refused(f *wire.Run, err error) *wire.Done {
	return &wire.Done{Token: f.Token, Job: f.Job, Outcome: *failed(fault.Because(err, "run %s", f.Call.Func))}
}

// pick chooses the server for a run; nil when it has to wait.
func (s *schedState) pick(w *wire.Where) (*schedServer, error) {
	switch {
	case w.Port != 0:
		return s.pickServer(w)
	case w.Node != "":
		return s.pickNode(w.Node)
	case len(s.active.nodes) == 0:
		return nil, nil //nolint:nilnil // it has to wait
	}
	if sv := s.active.nodes[0].ready[0]; !s.holds(sv) {
		return sv, nil
	}
	return nil, nil //nolint:nilnil // it has to wait
}

// pickServer finds the server at a location.
func (s *schedState) pickServer(w *wire.Where) (*schedServer, error) {
	sv := s.places[Location{Addr: w.Host, Port: w.Port}]
	switch {
	case sv == nil:
	case !sv.node.takesJobs():
		return nil, fmt.Errorf("server %v takes no new jobs: %s: %w", Location{Addr: w.Host, Port: w.Port}, cmp.Or(sv.node.idled, sv.node.offer.Reason), ErrNoServer)
	case sv.state == serverReady:
		return sv, nil
	case sv.state == serverSettingUp:
		return nil, nil //nolint:nilnil // it has to wait
	}
	return nil, fmt.Errorf("no server %v serves the computation: %w", Location{Addr: w.Host, Port: w.Port}, ErrNotFound)
}

// pickNode finds the least loaded server of the nodes that name stands for.
func (s *schedState) pickNode(name string) (*schedServer, error) {
	var best *schedNode
	found := false
	for _, n := range s.known {
		if !n.takesJobs() || name != n.addr && name != n.host {
			continue
		}
		found = true
		if n.usable > 0 && (best == nil || lessLoaded(n, best)) {
			best = n
		}
	}
	switch {
	case best != nil:
		return best.ready[0], nil
	case found:
		return nil, nil //nolint:nilnil // it has to wait
	}
	return nil, fmt.Errorf("no node %q serves the computation: %w", name, ErrNotFound)
}

// unrun takes back a run that waits, here or at its server.
func (s *schedState) unrun(from wire.Peer, f *wire.Unrun) {
	c := s.active
	if c == nil || c.submit.Token != f.Token || c.client.ID != from.ID {
		return
	}
	if run := c.waiting.remove(f.Job); run != nil {
		s.refuse(run, ErrNoServer)
		return
	}
	if j := s.jobs[f.Job]; j != nil {
		s.send(j.server.info.Peer, &wire.Unstart{Token: f.Token, Job: f.Job})
	}
}

// freed takes a server's word that a job has ended there, and perhaps that the client knows.
func (s *schedState) freed(server wire.ID, id wire.JobID, heard bool) {
	j := s.jobs[id]
	if j == nil || j.server.info.Peer.ID != server {
		return
	}
	sv := j.server
	s.forget(j)
	if !heard {
		sv.ended = append(sv.ended, j)
	}
	s.releaseIfLeft(sv.node)
	if sv.load == 0 && s.active.share > 0 {
		s.moved = true // it may have more than its share
	}
	if len(sv.ended) > maxUnheard && s.servers[server] == sv {
		s.loseServer(sv, fmt.Sprintf("of %d jobs that have ended there its client has not heard", len(sv.ended)))
	}
}

// maxUnheard bounds the jobs that are kept of one server because the client may not know of them.
const maxUnheard = 1 << 20

// heard takes a server's word of how many more jobs that have ended there the client knows; of none: that files come.
func (s *schedState) heard(server wire.ID, f *wire.Heard) {
	if sv := s.servers[server]; sv != nil && s.active != nil && s.active.submit.Token == f.Token {
		if f.Jobs == 0 {
			s.stir(sv.node)
		}
		sv.ended = slices.Delete(sv.ended, 0, int(min(f.Jobs, uint64(len(sv.ended)))))
	}
}

// endedWith is how a job ended whose server is no more, and has not said itself. A server that closed has terminated it.
func (j *schedJob) endedWith(kind StatusKind, reason string) error {
	if kind == ServerClosed {
		text := fmt.Sprintf("discoro: %s: terminated, as server %v closed", j.fn, peerLocation(j.server.info.Peer))
		if reason != "" {
			text += ": " + reason
		}
		return fault.New(text, ErrTerminated)
	}
	return j.lost(reason)
}

// unheardWith is how a job ended whose server is no more, and which its client has not heard of.
func (j *schedJob) unheardWith(kind StatusKind, reason string) error {
	if kind == ServerClosed {
		text := "it has closed, and its client has not heard of the run"
		if reason != "" {
			text += ": " + reason
		}
		return j.lost(text)
	}
	return j.lost(reason)
}

func (j *schedJob) lost(reason string) error {
	return &ServerLostError{
		Server: peerLocation(j.server.info.Peer), Func: j.fn,
		Cause: fault.New(cmp.Or(reason, ErrDisconnected.Error()), ErrDisconnected),
	}
}

// nodeHeap holds the nodes with usable servers, the least loaded first.
type nodeHeap []*schedNode

// lessLoaded compares the jobs a usable server, without dividing.
func lessLoaded(a, b *schedNode) bool {
	return a.load*b.usable < b.load*a.usable
}

func (h nodeHeap) Len() int           { return len(h) }
func (h nodeHeap) Less(i, j int) bool { return lessLoaded(h[i], h[j]) }
func (h nodeHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push is for package heap.
func (h *nodeHeap) Push(x any) {
	n, _ := x.(*schedNode)
	n.index = len(*h)
	*h = append(*h, n)
}

// Pop is for package heap.
func (h *nodeHeap) Pop() any {
	old := *h
	n := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	n.index = -1
	return n
}

// add makes a server usable.
func (h *nodeHeap) add(sv *schedServer) {
	n := sv.node
	heap.Push(&n.ready, sv)
	n.usable++
	if n.index < 0 {
		heap.Push(h, n)
	} else {
		heap.Fix(h, n.index)
	}
}

// remove makes a server unusable.
func (h *nodeHeap) remove(sv *schedServer) {
	n := sv.node
	if sv.index < 0 {
		return
	}
	heap.Remove(&n.ready, sv.index)
	n.usable--
	switch {
	case n.index < 0:
	case n.usable == 0:
		heap.Remove(h, n.index)
	default:
		heap.Fix(h, n.index)
	}
}

// addLoad counts jobs at a server.
func (h *nodeHeap) addLoad(sv *schedServer, jobs int) {
	sv.load += jobs
	sv.node.load += jobs
	if sv.index >= 0 {
		heap.Fix(&sv.node.ready, sv.index)
	}
	if sv.node.index >= 0 {
		heap.Fix(h, sv.node.index)
	}
}

// serverHeap holds the usable servers of a node, the least loaded first.
type serverHeap []*schedServer

func (h serverHeap) Len() int           { return len(h) }
func (h serverHeap) Less(i, j int) bool { return h[i].load < h[j].load }
func (h serverHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push is for package heap.
func (h *serverHeap) Push(x any) {
	sv, _ := x.(*schedServer)
	sv.index = len(*h)
	*h = append(*h, sv)
}

// Pop is for package heap.
func (h *serverHeap) Pop() any {
	old := *h
	sv := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	sv.index = -1
	return sv
}
