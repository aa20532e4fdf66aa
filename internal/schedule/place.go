package schedule

import (
	"cmp"
	"fmt"

	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/wire"
)

// Which server a run goes to: the least loaded server of the least loaded node, in time that grows with the logarithm
// of their number. Load is counted when a run is sent, not when the answer comes.

// run places a run, or lets it wait for a server.
func (s *State) run(from wire.Peer, f *wire.Run) {
	c := s.active
	if c == nil || c.submit.Token != f.Token || c.client.ID != from.ID || c.closing {
		s.send(from, s.refused(f, fmt.Errorf("the computation is not active: %w", fault.Closed)))
		return
	}
	s.stir(nil)
	if f.Job.Client != from.ID || s.jobs[f.Job] != nil || c.waiting.has(f.Job) {
		s.send(from, s.refused(f, fmt.Errorf("the job's number is not the client's to give, or was given before: %w", fault.Rejected)))
		return
	}
	s.setShare(1)
	if s.place(f) {
		return
	}
	if err := c.waiting.full(f); err != nil && from.ID != s.cfg.Self {
		s.refuse(f, err)
		return
	}
	c.waiting.add(f)
}

// place sends a run of the active computation to a server, or refuses it; it reports false when the run has to wait.
func (s *State) place(f *wire.Run) bool {
	sv, err := s.pick(&f.Where)
	switch {
	case err != nil:
		s.refuse(f, err)
	case sv == nil:
		return false
	default:
		s.book(&job{id: f.Job, fn: f.Call.Func, server: sv})
		s.send(sv.info.Peer, &wire.Start{Token: f.Token, Job: f.Job, Lane: f.Lane, Call: f.Call})
	}
	return true
}

// placeWaiting looks again at the runs that wait, when servers came or went in this step.
func (s *State) placeWaiting() {
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

func (s *State) refuse(f *wire.Run, err error) { s.tell(s.active, s.refused(f, err)) }

// refused is how a run ends that never starts.
func (s *State) refused(f *wire.Run, err error) *wire.Done {
	return &wire.Done{Token: f.Token, Job: f.Job, Outcome: *s.failed(fault.Because(err, "run %s", f.Call.Func))}
}

// pick chooses the server for a run; nil when it has to wait.
func (s *State) pick(w *wire.Where) (*server, error) {
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
func (s *State) pickServer(w *wire.Where) (*server, error) {
	sv := s.places[place{w.Host, w.Port}]
	switch {
	case sv == nil:
	case !sv.node.takesJobs():
		return nil, fmt.Errorf("server %v takes no new jobs: %s: %w", hostPort(w.Host, w.Port), cmp.Or(sv.node.idled, sv.node.offer.Reason), fault.NoServer)
	case sv.state == serverReady:
		return sv, nil
	case sv.state == serverSettingUp:
		return nil, nil //nolint:nilnil // it has to wait
	}
	return nil, fmt.Errorf("no server %v serves the computation: %w", hostPort(w.Host, w.Port), fault.NotFound)
}

// pickNode finds the least loaded server of the nodes that name stands for.
func (s *State) pickNode(name string) (*server, error) {
	var best *node
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
	return nil, fmt.Errorf("no node %q serves the computation: %w", name, fault.NotFound)
}

// unrun takes back a run that waits, here or at its server.
func (s *State) unrun(from wire.Peer, f *wire.Unrun) {
	c := s.active
	if c == nil || c.submit.Token != f.Token || c.client.ID != from.ID {
		return
	}
	if run := c.waiting.remove(f.Job); run != nil {
		s.refuse(run, fault.NoServer)
		return
	}
	if j := s.jobs[f.Job]; j != nil {
		s.send(j.server.info.Peer, &wire.Unstart{Token: f.Token, Job: f.Job})
	}
}
