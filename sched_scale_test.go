package discoro

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/discoro/discoro/wire"
)

// TestSchedScale has a scheduler of 1,000 nodes of 8 servers place 100,000 runs, which end in any order, while a tenth of the
// nodes is lost in the middle: every run ends once, and the load stays even.
func TestSchedScale(t *testing.T) {
	t.Parallel()
	const nodes, each, runs, wave = 1000, 8, 100_000, 20_000
	s := newSchedState()
	client := schedClientPeer(1)
	s.frame(client, &wire.Submit{Token: schedToken(1)})
	node := func(n int) wire.Peer {
		return wire.Peer{ID: wire.ID{'n', byte(n >> 8), byte(n)}, Host: "h", Port: 1 + n}
	}
	server := func(n, i int) wire.Peer {
		return wire.Peer{ID: wire.ID{'s', byte(n >> 8), byte(n), byte(i)}, Host: "h", Port: 10_000 + each*n + i}
	}
	for n := range nodes {
		s.frame(node(n), &wire.Offer{Free: true, CPUs: each})
		for i := range each {
			s.frame(server(n, i), &wire.Ready{Token: schedToken(1), Node: node(n).ID, Info: wire.ServerInfo{Peer: server(n, i)}})
		}
	}
	s.take()
	type running struct {
		job wire.JobID
		at  wire.Peer
	}
	var now []running
	load := map[wire.ID]int{}
	ends := make([]int, runs)
	lost := 0
	book := func() {
		for _, e := range s.take() {
			switch f := e.frame.(type) {
			case *wire.Start:
				now = append(now, running{f.Job, e.to})
				load[e.to.ID]++
			case *wire.Done:
				ends[f.Job.Seq]++
				lost++
			}
		}
	}
	for seq := range runs {
		s.frame(client, &wire.Run{Token: schedToken(1), Job: wire.JobID{Client: client.ID, Seq: uint64(seq)}})
		book()
		if len(now) == wave && seq == wave-1 { // before any has ended: 2.5 a server
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
		if seq == runs/2 { // what ran there is lost
			gone := map[wire.ID]bool{}
			for n := range nodes / 10 {
				for i := range each {
					gone[server(n, i).ID] = true
				}
				s.down(node(n).ID, "killed")
			}
			before := len(now)
			now = slices.DeleteFunc(now, func(r running) bool { return gone[r.at.ID] })
			book()
			if want := before - len(now); want != lost {
				t.Errorf("%d runs ended with their nodes, want %d", lost, want)
			}
		}
		for len(now) >= wave { // any of them ends
			i := rand.IntN(len(now))
			r := now[i]
			now[i] = now[len(now)-1]
			now = now[:len(now)-1]
			ends[r.job.Seq]++
			s.frame(r.at, &wire.Freed{Token: schedToken(1), Job: r.job})
		}
	}
	for _, r := range now {
		ends[r.job.Seq]++
		s.frame(r.at, &wire.Freed{Token: schedToken(1), Job: r.job})
	}
	for seq, n := range ends {
		if n != 1 {
			t.Fatalf("run %d ended %d times", seq, n)
		}
	}
	if len(s.jobs) != 0 || len(s.active.waiting) != 0 || len(s.servers) != each*(nodes-nodes/10) {
		t.Errorf("%d jobs, %d runs that wait and %d servers are left", len(s.jobs), len(s.active.waiting), len(s.servers))
	}
}
