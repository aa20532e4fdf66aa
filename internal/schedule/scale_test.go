package schedule

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/discoro/discoro/wire"
)

// TestSchedScale has a scheduler of 1,000 nodes of 8 servers place 100,000 runs, which end in any
// order. In the middle a tenth of the nodes is lost. Every run ends once, and the load stays even.
func TestSchedScale(t *testing.T) {
	t.Parallel()
	const nodes, each, runs, wave = 1000, 8, 100_000, 20_000
	s := newState()
	client := clientPeer(1)
	s.Frame(s.now, client, &wire.Submit{Token: token(1)})
	node := func(n int) wire.Peer {
		return wire.Peer{ID: wire.ID{'n', byte(n >> 8), byte(n)}, Host: "h", Port: 1 + n}
	}
	server := func(n, i int) wire.Peer {
		return wire.Peer{ID: wire.ID{'s', byte(n >> 8), byte(n), byte(i)}, Host: "h", Port: 10_000 + each*n + i}
	}
	for n := range nodes {
		s.Frame(s.now, node(n), &wire.Offer{Free: true, CPUs: each})
		for i := range each {
			s.Frame(s.now, server(n, i),
				&wire.Ready{Token: token(1), Node: node(n).ID, Info: wire.ServerInfo{Peer: server(n, i)}})
		}
	}
	s.Take()
	type running struct {
		job wire.JobID
		at  wire.Peer
	}
	var now []running
	load := map[wire.ID]int{}
	ends := make([]int, runs)
	lost := 0
	book := func() {
		for _, e := range s.Take() {
			switch f := e.Frame.(type) {
			case *wire.Start:
				now = append(now, running{f.Job, e.To})
				load[e.To.ID]++
			case *wire.Done:
				ends[f.Job.Seq]++
				lost++
			}
		}
	}
	for seq := range runs {
		s.Frame(s.now, client, &wire.Run{Token: token(1), Job: wire.JobID{Client: client.ID, Seq: uint64(seq)}})
		book()
		if len(now) == wave && seq == wave-1 { // none has ended yet: 2.5 for each server
			for n := range nodes {
				sum := 0
				for i := range each {
					have := load[server(n, i).ID]
					if sum += have; have < 2 || have > 3 {
						t.Fatalf("server %d of node %d has %d of %d runs", i, n, have, wave)
					}
				}
				if sum != wave/nodes {
					t.Fatalf("node %d has %d of %d runs", n, sum, wave)
				}
			}
		}
		if seq == runs/2 { // a tenth of the nodes is lost, with what ran there
			gone := map[wire.ID]bool{}
			for n := range nodes / 10 {
				for i := range each {
					gone[server(n, i).ID] = true
				}
				s.Down(s.now, node(n).ID, "killed")
			}
			before := len(now)
			now = slices.DeleteFunc(now, func(r running) bool { return gone[r.at.ID] })
			book()
			if want := before - len(now); want != lost {
				t.Errorf("%d runs ended with their nodes, want %d", lost, want)
			}
		}
		for len(now) >= wave { // one of them ends, at random
			i := rand.IntN(len(now))
			r := now[i]
			now[i] = now[len(now)-1]
			now = now[:len(now)-1]
			ends[r.job.Seq]++
			s.Frame(s.now, r.at, &wire.Freed{Token: token(1), Job: r.job})
		}
	}
	for _, r := range now {
		ends[r.job.Seq]++
		s.Frame(s.now, r.at, &wire.Freed{Token: token(1), Job: r.job})
	}
	for seq, n := range ends {
		if n != 1 {
			t.Fatalf("run %d ended %d times", seq, n)
		}
	}
	if len(s.jobs) != 0 || s.active.waiting.len() != 0 || len(s.servers) != each*(nodes-nodes/10) {
		t.Errorf("%d jobs, %d runs that wait and %d servers are left", len(s.jobs), s.active.waiting.len(), len(s.servers))
	}
}

// TestSchedManyWait has 25,000 runs wait before 250 nodes have their 2,000 servers, each of which is an
// event: the servers share the runs, in order. Runs that are taken back, in any order, end once.
func TestSchedManyWait(t *testing.T) {
	t.Parallel()
	const nodes, each, runs, back = 250, 8, 25_000, 5000
	s := newState()
	client := clientPeer(1)
	s.Frame(s.now, client, &wire.Submit{Token: token(1)})
	node := func(n int) wire.Peer {
		return wire.Peer{ID: wire.ID{'n', byte(n >> 8), byte(n)}, Host: "h", Port: 1 + n}
	}
	for n := range nodes {
		s.Frame(s.now, node(n), &wire.Offer{Free: true, CPUs: each})
	}
	job := func(seq int) wire.JobID { return wire.JobID{Client: client.ID, Seq: uint64(seq)} }
	for seq := range runs + back {
		s.Frame(s.now, client, &wire.Run{Token: token(1), Job: job(seq)})
	}
	s.Take()
	s.Frame(s.now, client, &wire.Run{Token: token(1), Job: job(7)})
	if out := s.Take(); len(out) != 1 || effectText(out[0]) != "c1: done 7 rejected" {
		t.Errorf("the number of a run that waits was given again: %v", out)
	}
	for _, i := range rand.Perm(back) {
		s.Frame(s.now, client, &wire.Unrun{Token: token(1), Job: job(runs + i)})
	}
	ended := map[wire.JobID]bool{}
	for _, e := range s.Take() {
		ended[e.Frame.(*wire.Done).Job] = true
	}
	if len(ended) != back || s.active.waiting.len() != runs {
		t.Errorf("%d of %d runs ended that were taken back; %d wait, want %d", len(ended), back, s.active.waiting.len(), runs)
	}
	text := s.report(token(1), wire.JobID{})
	if want := "250 nodes, h:1 among them: reserved, its servers are starting"; text != want {
		t.Errorf("the report is %.200q, want %q", text, want)
	}
	next := uint64(0)
	for n := range nodes {
		for i := range each {
			sv := wire.Peer{ID: wire.ID{'s', byte(n >> 8), byte(n), byte(i)}, Host: "h", Port: 10_000 + each*n + i}
			s.Frame(s.now, sv, &wire.Ready{Token: token(1), Node: node(n).ID, Info: wire.ServerInfo{Peer: sv}})
			got := 0
			for _, e := range s.Take() {
				if f, ok := e.Frame.(*wire.Start); ok {
					if f.Job.Seq != next {
						t.Fatalf("run %d starts, and %d waits", f.Job.Seq, next)
					}
					next++
					got++
				}
			}
			if share := runs/nodes/each + 1; got > share || got < share && next < runs {
				t.Fatalf("server %d of node %d has %d of %d runs", i, n, got, runs)
			}
		}
	}
	if next != runs || s.active.waiting.len() != 0 {
		t.Errorf("%d of %d runs have started, %d wait", next, runs, s.active.waiting.len())
	}
	s.Down(s.now, node(5).ID, "killed")
	if text, want := s.report(token(1), wire.JobID{}), "249 nodes, h:1 among them: 8 of 8 servers ready"; text != want {
		t.Errorf("the report is %.200q, want %q", text, want)
	}
}
