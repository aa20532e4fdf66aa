package schedule

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/wire"
)

// job is a run that was sent to a server, and has not ended.
type job struct {
	id         wire.JobID
	fn         string
	server     *server
	prev, next *job // at that server
}

// book counts a job at its server, and forget no longer.
func (s *State) book(j *job) {
	s.jobs[j.id] = j
	if j.next = j.server.jobs; j.next != nil {
		j.next.prev = j
	}
	j.server.jobs = j
	s.stir(j.server.node)
	s.active.nodes.addLoad(j.server, 1)
}

func (s *State) forget(j *job) {
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

// freed takes a server's word that a job has ended there, and perhaps that the client knows.
func (s *State) freed(from wire.ID, id wire.JobID, heard bool) {
	j := s.jobs[id]
	if j == nil || j.server.info.Peer.ID != from {
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
	if len(sv.ended) > maxUnheard && s.servers[from] == sv {
		s.loseServer(sv, fmt.Sprintf("of %d jobs that have ended there its client has not heard", len(sv.ended)))
	}
}

// maxUnheard bounds the jobs that are kept of one server because the client may not know of them.
const maxUnheard = 1 << 20

// heard takes a server's word of how many more jobs that have ended there the client knows; of none: that files come.
func (s *State) heard(from wire.ID, f *wire.Heard) {
	if sv := s.servers[from]; sv != nil && s.active != nil && s.active.submit.Token == f.Token {
		if f.Jobs == 0 {
			s.stir(sv.node)
		}
		sv.ended = slices.Delete(sv.ended, 0, int(min(f.Jobs, uint64(len(sv.ended)))))
	}
}

// endedWith is how a job ended whose server is no more, and has not said itself. A server that closed has terminated it.
func (s *State) endedWith(j *job, kind uint8, reason string) error {
	if kind == wire.StatusServerClosed {
		text := fmt.Sprintf("discoro: %s: terminated, as server %v closed", j.fn, at(j.server.info.Peer))
		if reason != "" {
			text += ": " + reason
		}
		return fault.New(text, fault.Terminated)
	}
	return s.lost(j, reason)
}

// unheardWith is how a job ended whose server is no more, and which its client has not heard of.
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

func (s *State) lost(j *job, reason string) error {
	cause := fault.New(cmp.Or(reason, fault.Disconnected.Error()), fault.Disconnected)
	return s.cfg.Lost(j.server.info.Peer, j.fn, cause)
}
