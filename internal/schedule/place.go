package schedule

import (
	"cmp"
	"fmt"

	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/wire"
)

// A run goes to the least loaded server of the least loaded node. Finding it takes a time that grows
// with the logarithm of their numbers. A run counts from when it is sent, not from when the server
// answers: otherwise a burst of runs would all go to one server.

// run is a client's request for a run: it is sent to a server, or waits for one.
func (s *State) run(from wire.Peer, f *wire.Run) {
	c := s.active
	if c == nil || c.submit.Token != f.Token || c.client.ID != from.ID || c.closing {
		s.send(from, s.refused(f, fmt.Errorf("the computation is not active: %w", fault.Closed)))
		return
	}
	s.noteWork(nil)
	if f.Job.Client != from.ID || s.jobs[f.Job] != nil || c.waiting.has(f.Job) {
		err := fmt.Errorf("its job number belongs to another client, or is in use: %w", fault.Rejected)
		s.send(from, s.refused(f, err))
		return
	}
	s.updateShare(1)
	if s.place(f) {
		return
	}
	if err := c.waiting.full(f); err != nil && from.ID != s.cfg.Self {
		s.refuse(f, err)
		return
	}
	c.waiting.add(f)
}

// unrun takes back a run: one that waits here ends, and one that was sent to a server ends there if
// it has not started.
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

// place sends a run of the active computation to a server, or refuses it. It returns false when the
// run has to wait.
func (s *State) place(f *wire.Run) bool {
	sv, ok, err := s.pick(&f.Where)
	switch {
	case err != nil:
		s.refuse(f, err)
	case !ok:
		return false
	default:
		s.addJob(&job{id: f.Job, fn: f.Call.Func, server: sv})
		s.send(sv.info.Peer, &wire.Start{Token: f.Token, Job: f.Job, Lane: f.Lane, Call: f.Call})
	}
	return true
}

// placeWaiting places the runs that wait, when servers have changed in this event.
func (s *State) placeWaiting() {
	retry := s.retry
	s.retry = false
	if !retry || s.active == nil {
		return
	}
	s.active.spread.countsValid = false
	if s.active.waiting.len() == 0 {
		return
	}
	s.updateShare(0)
	s.active.waiting.place(s.place)
}

// refuse ends a run of the active computation that never starts.
func (s *State) refuse(f *wire.Run, err error) { s.notify(s.active, s.refused(f, err)) }

// refused returns the end of a run that never starts.
func (s *State) refused(f *wire.Run, err error) *wire.Done {
	return &wire.Done{Token: f.Token, Job: f.Job, Outcome: *s.failed(fault.Because(err, "run %s", f.Call.Func))}
}

// pick chooses the server for a run. It returns ok false when the run has to wait, and an error when
// waiting would be in vain.
func (s *State) pick(w *wire.Where) (sv *server, ok bool, err error) {
	switch {
	case w.Port != 0:
		return s.pickAt(location{w.Host, w.Port})
	case w.Node != "":
		return s.pickOfNode(w.Node)
	case len(s.active.nodes) == 0:
		return nil, false, nil
	}
	sv = s.active.nodes[0].ready[0]
	return sv, !s.atShare(sv), nil
}

// pickAt is pick for the server at a location.
func (s *State) pickAt(at location) (sv *server, ok bool, err error) {
	sv = s.byLocation[at]
	switch {
	case sv == nil:
	case !sv.node.takesJobs():
		why := cmp.Or(sv.node.idleReason, sv.node.offer.Reason)
		return nil, false, fmt.Errorf("server %v takes no new jobs: %s: %w", at, why, fault.NoServer)
	case sv.state == serverReady:
		return sv, true, nil
	case sv.state == serverSettingUp:
		return nil, false, nil
	}
	return nil, false, fmt.Errorf("no server %v serves the computation: %w", at, fault.NotFound)
}

// pickOfNode is pick for the servers of a node, or of all nodes at a host.
func (s *State) pickOfNode(name string) (sv *server, ok bool, err error) {
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
		return best.ready[0], true, nil
	case found:
		return nil, false, nil
	}
	return nil, false, fmt.Errorf("no node %q serves the computation: %w", name, fault.NotFound)
}
