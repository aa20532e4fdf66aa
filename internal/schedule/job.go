package schedule

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/wire"
)

// job is a run that was sent to a server. Until it ends it is in State.jobs and in the list of its
// server; then, until its client knows of it, in server.unheard.
type job struct {
	id         wire.JobID
	fn         string // the function's name
	server     *server
	prev, next *job // in the list of the server's jobs
}

// addJob records a job, and counts it at its server.
func (s *State) addJob(j *job) {
	s.jobs[j.id] = j
	if j.next = j.server.jobs; j.next != nil {
		j.next.prev = j
	}
	j.server.jobs = j
	s.noteWork(j.server.node)
	s.active.nodes.addLoad(j.server, 1)
}

// removeJob removes a job that has ended, and no longer counts it at its server.
func (s *State) removeJob(j *job) {
	delete(s.jobs, j.id)
	if j.next != nil {
		j.next.prev = j.prev
	}
	if j.prev != nil {
		j.prev.next = j.next
	} else {
		j.server.jobs = j.next
	}
	j.next, j.prev = nil, nil // j may live on in server.unheard: it must not keep others alive
	s.noteWork(j.server.node)
	s.active.nodes.addLoad(j.server, -1)
}

// freed is a server's report that a job has ended there. With heard, the client knows.
func (s *State) freed(from wire.ID, id wire.JobID, heard bool) {
	j := s.jobs[id]
	if j == nil || j.server.info.Peer.ID != from {
		return
	}
	sv := j.server
	s.removeJob(j)
	if !heard {
		sv.unheard = append(sv.unheard, j)
	}
	s.releaseIfDrained(sv.node)
	if sv.load == 0 && s.active.spread.share > 0 {
		s.retry = true // a server with nothing to do may get more than its share
	}
	if len(sv.unheard) > maxUnheard && s.servers[from] == sv {
		s.loseServer(sv, fmt.Sprintf("its client has not heard of %d jobs that have ended there", len(sv.unheard)))
	}
}

// maxUnheard bounds the jobs of one server that are kept because the client may not know of them.
const maxUnheard = 1 << 20

// heard is a server's report of how many more of the jobs that have ended there the client knows.
// With 0 jobs it says that files arrive there: the server is not idle.
func (s *State) heard(from wire.ID, f *wire.Heard) {
	sv := s.servers[from]
	if sv == nil || s.active == nil || s.active.submit.Token != f.Token {
		return
	}
	if f.Jobs == 0 {
		s.noteWork(sv.node)
	}
	known := int(min(f.Jobs, uint64(len(sv.unheard))))
	sv.unheard = slices.Delete(sv.unheard, 0, known)
}

// endedWith returns the error of a job when its server is gone and has not reported the job's end.
// A server that closed has terminated the job. The kind is that of the server's last Status.
func (s *State) endedWith(j *job, kind uint8, reason string) error {
	if kind == wire.StatusServerClosed {
		text := fmt.Sprintf("discoro: %s: terminated, as server %v closed", j.fn, locationOf(j.server.info.Peer))
		if reason != "" {
			text += ": " + reason
		}
		return fault.New(text, fault.Terminated)
	}
	return s.lost(j, reason)
}

// unheardWith returns the error of a job that ended at a server before the server was gone, for a
// client that has not received that end.
func (s *State) unheardWith(j *job, kind uint8, reason string) error {
	if kind == wire.StatusServerClosed {
		text := "it has closed, and its client has not heard of the run"
		if reason != "" {
			text += ": " + reason
		}
		return s.lost(j, text)
	}
	return s.lost(j, reason)
}

// lost returns the error of a job whose server is lost.
func (s *State) lost(j *job, reason string) error {
	cause := fault.New(cmp.Or(reason, fault.Disconnected.Error()), fault.Disconnected)
	return s.cfg.Lost(j.server.info.Peer, j.fn, cause)
}
