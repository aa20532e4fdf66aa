package discoro

import (
	"container/list"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/discoro/discoro/wire"
)

// schedBed drives a schedState by hand and writes down what it decides, a line an effect.
type schedBed struct {
	*testing.T
	state *schedState
}

func newSchedBed(t *testing.T) *schedBed {
	t.Helper()
	return &schedBed{T: t, state: newSchedState()}
}

// Peers of the tests: n1 is a node, s1 a server, c1 a client; the number is their port, too.
func schedPeer(kind byte, n int) wire.Peer {
	port := map[byte]int{'n': 1000, 's': 2000, 'c': 3000}[kind] + n
	return wire.Peer{ID: wire.ID{kind, byte(n >> 8), byte(n)}, Host: "h", Port: port}
}

func schedNodePeer(n int) wire.Peer   { return schedPeer('n', n) }
func schedServerPeer(n int) wire.Peer { return schedPeer('s', n) }
func schedClientPeer(n int) wire.Peer { return schedPeer('c', n) }

func schedPeerName(p wire.Peer) string {
	return fmt.Sprintf("%c%d", p.ID[0], int(p.ID[1])<<8|int(p.ID[2]))
}

func schedToken(n int) wire.Token { return wire.Token{byte(n)} }

func schedJobID(client, seq int) wire.JobID {
	return wire.JobID{Client: schedClientPeer(client).ID, Seq: uint64(seq)}
}

func schedServerInfo(n int) wire.ServerInfo { return wire.ServerInfo{Peer: schedServerPeer(n)} }

// on feeds a frame and compares what comes of it.
func (b *schedBed) on(from wire.Peer, f wire.Frame, want ...string) {
	b.Helper()
	b.state.frame(from, f)
	b.expect(fmt.Sprintf("%T from %s", f, schedPeerName(from)), want)
}

// gone feeds the end of a link.
func (b *schedBed) gone(p wire.Peer, want ...string) {
	b.Helper()
	b.state.down(p.ID, "cut")
	b.expect("the end of "+schedPeerName(p), want)
}

func (b *schedBed) expect(what string, want []string) {
	b.Helper()
	got := []string{}
	for _, e := range b.state.take() {
		got = append(got, schedEffectText(e))
	}
	if diff := cmp.Diff(append([]string{}, want...), got); diff != "" {
		b.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// schedEffectText writes an effect as "to: what".
func schedEffectText(e effect) string {
	text := ""
	switch f := e.frame.(type) {
	case nil:
		text = fmt.Sprint("reply ", e.call)
		if e.answer.err != nil {
			text += " error"
		}
	case *wire.Status:
		text = strings.TrimSpace(strings.ReplaceAll(statusOf(f).String(), "h:", ""))
	case *wire.Reserve:
		text = "reserve"
	case *wire.Release:
		text = "release"
		if !f.Over {
			text = "let go"
		}
	case *wire.Queued:
		text = fmt.Sprint("queued ", f.Position)
	case *wire.Start:
		text = fmt.Sprint("start ", f.Job.Seq)
	case *wire.Unstart:
		text = fmt.Sprint("unstart ", f.Job.Seq)
	case *wire.Unheard:
		text = fmt.Sprint("unheard ", f.Job.Seq)
		var lost *ServerLostError
		if errors.As(values.Error(f.Err), &lost) {
			text += fmt.Sprintf(" lost %d", lost.Server.Port)
		}
	case *wire.Done:
		var lost *ServerLostError
		err := values.Error(f.Outcome.Err)
		for _, is := range []error{ErrTerminated, ErrNotFound, ErrNoServer, ErrRejected, ErrClosed, ErrDisconnected} {
			if errors.Is(err, is) {
				text = fmt.Sprintf("done %d %v", f.Job.Seq, is)
				break
			}
		}
		if errors.As(err, &lost) {
			text += fmt.Sprintf(" lost %d", lost.Server.Port)
		}
	}
	return schedPeerName(e.to) + ": " + text
}

// offer is what a free node says, with the functions that it has.
func schedOffer(functions ...string) *wire.Offer {
	return &wire.Offer{Free: true, Functions: functions}
}

// serving makes c1's computation active, with servers s1..sn ready at node n1.
func (b *schedBed) serving(servers int) {
	b.Helper()
	b.on(schedClientPeer(1), &wire.Submit{Call: 1, Token: schedToken(1)}, "c1: ComputationScheduled", "c1: reply 1")
	b.on(schedNodePeer(1), schedOffer(), "c1: NodeDiscovered node 1001", "n1: reserve")
	for i := range servers {
		b.up(1, i+1, i == 0)
	}
}

// up makes a server of a node ready.
func (b *schedBed) up(node, server int, first bool, started ...string) {
	b.Helper()
	n, at := schedNodePeer(node), fmt.Sprintf(" node %d server %d", 1000+node, 2000+server)
	b.on(n, &wire.Servers{Token: schedToken(1), Up: []wire.ServerInfo{schedServerInfo(server)}}, "c1: ServerDiscovered"+at)
	want := []string{"c1: ServerInitialized" + at}
	if first {
		want = []string{fmt.Sprintf("c1: NodeInitialized node %d", 1000+node), want[0]}
	}
	b.on(schedServerPeer(server), &wire.Ready{Token: schedToken(1), Node: n.ID, Info: schedServerInfo(server)}, append(want, started...)...)
}

func (b *schedBed) run(seq int, where wire.Where, want ...string) {
	b.Helper()
	b.on(schedClientPeer(1), &wire.Run{Token: schedToken(1), Job: schedJobID(1, seq), Where: where}, want...)
}

// TestSchedWaitingIsBounded has a client let more wait for servers than the scheduler keeps, by their number and by their size.
func TestSchedWaitingIsBounded(t *testing.T) {
	t.Parallel()
	b := newSchedBed(t)
	b.on(schedClientPeer(1), &wire.Submit{Call: 1, Token: schedToken(1)}, "c1: ComputationScheduled", "c1: reply 1")
	large := make([]byte, maxWaitingBytes/16-len("f"))
	seq := 0
	run := func(arg []byte, want ...string) {
		t.Helper()
		seq++
		f := &wire.Run{Token: schedToken(1), Job: schedJobID(1, seq), Call: wire.FuncCall{Func: "f", Arg: arg}}
		b.on(schedClientPeer(1), f, want...)
	}
	for range 16 {
		run(large)
	}
	run(large[:1], "c1: done 17 rejected")
	b.on(schedClientPeer(1), &wire.Unrun{Token: schedToken(1), Job: schedJobID(1, 3)}, "c1: done 3 no server")
	run(large)
	run(large, "c1: done 19 rejected")
	b.on(schedNodePeer(1), schedOffer(), "c1: NodeDiscovered node 1001", "n1: reserve") // they are looked at again, and wait on
	run(nil, "c1: done 20 rejected")                                                    // names count, too
	if n := b.state.active.waiting.bytes; n != maxWaitingBytes {
		t.Errorf("%d bytes wait", n)
	}
	b.state.active.waiting = runQueue{at: make(map[wire.JobID]*list.Element, maxWaiting)}
	for i := range maxWaiting {
		b.state.active.waiting.at[schedJobID(1, -i)] = nil // its number is all that counts
	}
	run(nil, "c1: done 21 rejected")
	delete(b.state.active.waiting.at, schedJobID(1, 0))
	run(nil)
	run(nil, "c1: done 23 rejected")
	b.state.self = schedClientPeer(1).ID // what is held for its own runtime is that runtime's
	run(large)
}

func TestSchedStateWholeComputation(t *testing.T) {
	t.Parallel()
	b := newSchedBed(t)
	b.serving(2)
	b.run(1, wire.Where{}, "s1: start 1")
	b.run(2, wire.Where{}, "s2: start 2")
	b.on(schedServerPeer(2), &wire.Freed{Token: schedToken(1), Job: schedJobID(1, 2)})
	b.run(3, wire.Where{}, "s2: start 3")
	b.on(schedServerPeer(1), &wire.Done{Job: schedJobID(1, 1)})
	b.on(schedClientPeer(1), &wire.CloseJob{Call: 2, Token: schedToken(1)}, "n1: release")
	b.on(schedNodePeer(1), &wire.Released{Token: schedToken(1)},
		"c1: ServerClosed node 1001 server 2001", "c1: done 3 terminated", "c1: ServerClosed node 1001 server 2002",
		"c1: NodeClosed node 1001", "c1: ComputationClosed", "c1: reply 2")
}

// TestSchedStateUnheard loses a server where jobs have ended: the client is told of those of which it may not know, and only when it
// cannot hear of them from the server.
func TestSchedStateUnheard(t *testing.T) {
	t.Parallel()
	b := newSchedBed(t)
	b.serving(2)
	freed := func(server, job int) {
		b.Helper()
		b.on(schedServerPeer(server), &wire.Freed{Token: schedToken(1), Job: schedJobID(1, job)})
	}
	heard := func(server, token int, jobs uint64) {
		b.Helper()
		b.on(schedServerPeer(server), &wire.Heard{Token: schedToken(token), Jobs: jobs})
	}
	at := wire.Where{Host: "h", Port: 2001}
	for i := 1; i <= 6; i++ {
		b.run(i, at, fmt.Sprint("s1: start ", i))
	}
	for _, i := range []int{3, 1, 2, 5} {
		freed(1, i)
	}
	b.on(schedServerPeer(1), &wire.Done{Token: schedToken(1), Job: schedJobID(1, 6)}) // the client is told so itself
	heard(1, 1, 2)
	heard(1, 2, 1) // of another computation
	heard(2, 1, 1) // of another server
	heard(9, 1, 1) // of none
	b.gone(schedServerPeer(1), "c1: done 4 disconnected lost 2001", "c1: unheard 2 lost 2001", "c1: unheard 5 lost 2001",
		"c1: ServerDisconnected node 1001 server 2001: cut")
	heard(1, 1, 1)

	b.run(7, wire.Where{}, "s2: start 7")
	b.run(8, wire.Where{}, "s2: start 8")
	freed(2, 7)
	heard(2, 1, math.MaxUint64)

	// One that closes in order while the computation goes on.
	b.on(schedNodePeer(2), schedOffer(), "c1: NodeDiscovered node 1002", "n2: reserve")
	b.up(2, 3, true)
	b.up(2, 4, false)
	for i := 9; i <= 11; i++ {
		b.run(i, wire.Where{Host: "h", Port: 2003}, fmt.Sprint("s3: start ", i))
	}
	for i := 9; i <= 11; i++ {
		freed(3, i)
	}
	heard(3, 1, 1)
	b.on(schedNodePeer(2), &wire.Offer{Leaving: true, Reason: "it is leaving"}, "n2: let go")
	b.gone(schedServerPeer(3), "c1: unheard 10 lost 2003", "c1: unheard 11 lost 2003", "c1: ServerClosed node 1002 server 2003")
	heard(3, 1, 2) // comes late
	b.on(schedNodePeer(2), &wire.Released{Token: schedToken(1)},
		"c1: ServerClosed node 1002 server 2004: it is leaving", "c1: NodeClosed node 1002: it is leaving")

	// With the computation all its runs end.
	freed(2, 8)
	b.on(schedClientPeer(1), &wire.CloseJob{Call: 2, Token: schedToken(1)}, "n1: release")
	b.on(schedNodePeer(1), &wire.Released{Token: schedToken(1)},
		"c1: ServerClosed node 1001 server 2002", "c1: NodeClosed node 1001", "c1: ComputationClosed", "c1: reply 2")
}

func TestSchedStateLostServer(t *testing.T) {
	t.Parallel()
	b := newSchedBed(t)
	b.serving(2)
	b.run(1, wire.Where{Host: "h", Port: 2001}, "s1: start 1")
	b.run(2, wire.Where{Host: "h", Port: 2001}, "s1: start 2")
	b.gone(schedServerPeer(1), "c1: done 2 disconnected lost 2001", "c1: done 1 disconnected lost 2001",
		"c1: ServerDisconnected node 1001 server 2001: cut")
	b.run(3, wire.Where{Host: "h", Port: 2001}, "c1: done 3 not found")
	b.run(4, wire.Where{}, "s2: start 4")
	// What the server and its node have to say of it comes late, over links of their own.
	b.on(schedServerPeer(1), &wire.Freed{Token: schedToken(1), Job: schedJobID(1, 1)})
	b.on(schedNodePeer(1), &wire.Servers{Token: schedToken(1), Gone: []wire.ServerInfo{schedServerInfo(1)}, Reason: "killed"})
	// A server that has lost its client can tell nobody how its jobs end.
	b.on(schedServerPeer(2), &wire.Ready{Token: schedToken(1), Node: schedNodePeer(1).ID, Info: schedServerInfo(2), Err: encodeError(ErrDisconnected)},
		"c1: done 4 disconnected lost 2002", "c1: ServerDisconnected node 1001 server 2002: disconnected")
}

// TestSchedStateServerAtTheSamePlace has a node start anew, with fixed ports, before its silence was noticed. Clients know servers by
// their locations: the old one has to be over when they hear of the new one, and not after.
func TestSchedStateServerAtTheSamePlace(t *testing.T) {
	t.Parallel()
	b := newSchedBed(t)
	b.serving(1)
	b.run(1, wire.Where{}, "s1: start 1")
	b.on(schedNodePeer(2), schedOffer(), "c1: NodeDiscovered node 1002", "n2: reserve")
	fresh := wire.ServerInfo{Peer: schedServerPeer(1)}
	fresh.Peer.ID = schedServerPeer(7).ID
	b.on(schedNodePeer(2), &wire.Servers{Token: schedToken(1), Up: []wire.ServerInfo{fresh}},
		"c1: done 1 disconnected lost 2001",
		"c1: ServerDisconnected node 1001 server 2001: another server has started at its location, of node 1002: "+
			"if both nodes live, their servers need addresses or ports that differ (ExtAddr, TCPPorts)",
		"c1: ServerDiscovered node 1002 server 2001")
	b.on(fresh.Peer, &wire.Ready{Token: schedToken(1), Node: schedNodePeer(2).ID, Info: fresh},
		"c1: NodeInitialized node 1002", "c1: ServerInitialized node 1002 server 2001")
	b.gone(schedServerPeer(1))
	b.gone(schedNodePeer(1), "c1: NodeDisconnected node 1001: cut")
	b.run(2, wire.Where{Host: "h", Port: 2001}, "s7: start 2")
}

func TestSchedStateWaitingRunsEnd(t *testing.T) {
	t.Parallel()
	b := newSchedBed(t)
	b.serving(0)
	b.run(1, wire.Where{})
	b.run(2, wire.Where{Node: "h:1001"})
	b.run(3, wire.Where{Node: "h"})
	b.run(4, wire.Where{Node: "elsewhere"}, "c1: done 4 not found")
	b.on(schedNodePeer(1), &wire.Servers{Token: schedToken(1), Up: []wire.ServerInfo{schedServerInfo(1), schedServerInfo(2)}},
		"c1: ServerDiscovered node 1001 server 2001", "c1: ServerDiscovered node 1001 server 2002")
	b.run(5, wire.Where{Host: "h", Port: 2001})
	b.run(6, wire.Where{Host: "h", Port: 2002})
	b.on(schedClientPeer(1), &wire.Unrun{Token: schedToken(1), Job: schedJobID(1, 1)}, "c1: done 1 no server")
	b.on(schedServerPeer(1), &wire.Ready{Token: schedToken(1), Node: schedNodePeer(1).ID, Info: schedServerInfo(1), Err: encodeError(errors.New("no disk"))},
		"c1: ServerIgnore node 1001 server 2001: no disk", "c1: done 5 not found")
	b.on(schedNodePeer(1), &wire.Servers{Token: schedToken(1), Gone: []wire.ServerInfo{schedServerInfo(2)}, Reason: "killed"},
		"c1: ServerDisconnected node 1001 server 2002: killed", "c1: done 6 not found")
	b.gone(schedNodePeer(1), "c1: NodeDisconnected node 1001: cut", "c1: done 2 not found", "c1: done 3 not found")
	b.run(7, wire.Where{})
	b.on(schedClientPeer(1), &wire.CloseJob{Token: schedToken(1)}, "c1: done 7 closed", "c1: ComputationClosed")
	b.run(8, wire.Where{}, "c1: done 8 closed")
}

// TestSchedStateWaitsAtNode has a run wait at a node whose servers never came.
func TestSchedStateWaitsAtNode(t *testing.T) {
	t.Parallel()
	b := newSchedBed(t)
	b.serving(0)
	b.run(1, wire.Where{Node: "h:1001"})
	b.gone(schedNodePeer(1), "c1: NodeDisconnected node 1001: cut", "c1: done 1 not found")
}

// TestSchedStateStaleOffer has a node say that it is free before it knows that it is not: its word that it has closed must
// still count.
func TestSchedStateStaleOffer(t *testing.T) {
	t.Parallel()
	b := newSchedBed(t)
	b.serving(0)
	b.on(schedClientPeer(1), &wire.CloseJob{Call: 9, Token: schedToken(1)}, "n1: release")
	b.on(schedNodePeer(1), schedOffer())
	b.on(schedNodePeer(1), &wire.Released{Token: schedToken(1)}, "c1: NodeClosed node 1001", "c1: ComputationClosed", "c1: reply 9")
}

func TestSchedStateQueue(t *testing.T) {
	t.Parallel()
	b := newSchedBed(t)
	b.serving(1)
	b.on(schedClientPeer(1), &wire.Submit{Call: 5, Token: schedToken(1)}, "c1: reply 5 error")
	b.on(schedClientPeer(2), &wire.Submit{Call: 1, Token: schedToken(2)}, "c2: queued 1")
	b.on(schedClientPeer(3), &wire.Submit{Call: 1, Token: schedToken(3)}, "c3: queued 2")
	b.on(schedClientPeer(4), &wire.Submit{Call: 1, Token: schedToken(4)}, "c4: queued 3")
	b.on(schedClientPeer(4), &wire.CloseJob{Call: 2, Token: schedToken(4)}, "c4: ComputationClosed", "c4: reply 1 error", "c4: reply 2")
	b.gone(schedClientPeer(2), "c3: queued 1")
	if got, want := b.state.report(schedToken(3), wire.JobID{}), "it is number 1 in the scheduler's queue, behind a computation of h:3001"; got != want {
		t.Errorf("report %q, want %q", got, want)
	}
	b.run(1, wire.Where{}, "s1: start 1")
	b.gone(schedClientPeer(1), "n1: release") // and nothing to c1, who is gone
	b.on(schedNodePeer(1), &wire.Released{Token: schedToken(1)},
		"c3: ComputationScheduled", "c3: reply 1", "c3: NodeDiscovered node 1001")
	b.on(schedNodePeer(1), schedOffer(), "n1: reserve") // never ignored for resting a moment
}

func TestSchedStateNodesThatDoNotServe(t *testing.T) {
	t.Parallel()
	b := newSchedBed(t)
	b.on(schedClientPeer(1), &wire.Submit{Token: schedToken(1), Functions: []string{"b"}}, "c1: ComputationScheduled")
	b.on(schedNodePeer(1), &wire.Offer{Free: true, Functions: []string{"a", "c"}, Build: "prog"},
		"c1: NodeDiscovered node 1001", `c1: NodeIgnore node 1001: its program (prog) has not registered function "b"`)
	b.on(schedNodePeer(2), &wire.Offer{Functions: []string{"b"}, Reason: "it serves another computation"},
		"c1: NodeDiscovered node 1002", "c1: NodeIgnore node 1002: it serves another computation")
	b.on(schedNodePeer(2), &wire.Offer{Functions: []string{"b"}, Reason: "it serves another computation"}) // said once
	b.on(schedNodePeer(2), schedOffer("b"), "n2: reserve")
	b.on(schedNodePeer(2), &wire.Released{Token: schedToken(1), Reason: "another was quicker"}, "c1: NodeIgnore node 1002: another was quicker")
	b.on(schedNodePeer(2), schedOffer("b"), "n2: reserve")
	b.up(2, 1, true)
	b.on(schedNodePeer(2), &wire.Released{Token: schedToken(1), Reason: "closed at the node"},
		"c1: ServerClosed node 1002 server 2001: closed at the node", "c1: NodeClosed node 1002: closed at the node")
	b.on(schedNodePeer(2), schedOffer("b")) // it does not want this computation, but the next
	want := `node h:1001: not used: its program (prog) has not registered function "b"; node h:1002: not used: closed at the node`
	if got := b.state.report(schedToken(1), wire.JobID{}); got != want {
		t.Errorf("report %q, want %q", got, want)
	}
	b.on(schedClientPeer(1), &wire.CloseJob{Token: schedToken(1)}, "c1: ComputationClosed")
	b.on(schedClientPeer(2), &wire.Submit{Token: schedToken(2)}, "c2: ComputationScheduled",
		"c2: NodeDiscovered node 1001", "n1: reserve", "c2: NodeDiscovered node 1002", "n2: reserve")
}

// TestSchedStateNodeLeaves has a node leave with a job, change its mind, and leave for good; another takes its place.
func TestSchedStateNodeLeaves(t *testing.T) {
	t.Parallel()
	b := newSchedBed(t)
	b.serving(2)
	b.run(1, wire.Where{}, "s1: start 1")
	leaving := &wire.Offer{Leaving: true, Reason: "it is leaving"}
	b.on(schedNodePeer(1), leaving)
	b.run(2, wire.Where{Host: "h", Port: 2002}, "c1: done 2 no server")
	b.run(3, wire.Where{Node: "h:1001"}, "c1: done 3 not found")
	b.run(4, wire.Where{}) // waits
	b.on(schedNodePeer(1), &wire.Offer{Reason: "it serves another computation"}, "s2: start 4")
	b.on(schedServerPeer(2), &wire.Freed{Token: schedToken(1), Job: schedJobID(1, 4)})
	b.on(schedNodePeer(1), leaving)
	b.run(5, wire.Where{}) // waits
	b.on(schedServerPeer(1), &wire.Freed{Token: schedToken(1), Job: schedJobID(1, 1)}, "n1: let go")
	b.on(schedNodePeer(1), &wire.Offer{Reason: "it is ending another computation"})
	b.run(6, wire.Where{Host: "h", Port: 2002}, "c1: done 6 no server")
	b.on(schedNodePeer(1), leaving)
	b.on(schedNodePeer(1), &wire.Released{Token: schedToken(1)},
		"c1: unheard 1 lost 2001", "c1: ServerClosed node 1001 server 2001: it is leaving",
		"c1: unheard 4 lost 2002", "c1: ServerClosed node 1001 server 2002: it is leaving",
		"c1: NodeClosed node 1001: it is leaving")
	b.on(schedNodePeer(1), leaving, "c1: NodeIgnore node 1001: it is leaving")
	b.on(schedNodePeer(2), schedOffer(), "c1: NodeDiscovered node 1002", "n2: reserve")
	b.up(2, 3, true, "s3: start 5")
	b.on(schedNodePeer(1), schedOffer(), "n1: reserve") // its hours have come
}

// TestSchedStateIdleNodeLeaves has a node leave that runs nothing, and one that loses its last job with its server.
func TestSchedStateIdleNodeLeaves(t *testing.T) {
	t.Parallel()
	b := newSchedBed(t)
	b.serving(1)
	b.run(1, wire.Where{}, "s1: start 1")
	b.on(schedNodePeer(1), &wire.Offer{Leaving: true, Reason: "it is leaving"})
	b.gone(schedServerPeer(1), "c1: done 1 disconnected lost 2001", "c1: ServerDisconnected node 1001 server 2001: cut", "n1: let go")
	b.on(schedNodePeer(2), schedOffer(), "c1: NodeDiscovered node 1002", "n2: reserve")
	b.up(2, 2, true)
	b.on(schedNodePeer(2), &wire.Offer{Leaving: true, Reason: "it is leaving"}, "n2: let go")
	b.on(schedClientPeer(1), &wire.CloseJob{Call: 2, Token: schedToken(1)}, "n1: release", "n2: release") // they wait for nothing now
	b.on(schedNodePeer(1), &wire.Released{Token: schedToken(1)}, "c1: NodeClosed node 1001")
	b.on(schedNodePeer(2), &wire.Released{Token: schedToken(1)}, "c1: ServerClosed node 1002 server 2002",
		"c1: NodeClosed node 1002", "c1: ComputationClosed", "c1: reply 2")
}

// TestSchedStateTrustsLinks has peers say things that are not theirs to say.
func TestSchedStateTrustsLinks(t *testing.T) {
	t.Parallel()
	b := newSchedBed(t)
	b.serving(1)
	b.run(1, wire.Where{}, "s1: start 1")
	b.run(1, wire.Where{}, "c1: done 1 rejected")
	b.on(schedClientPeer(1), &wire.Run{Token: schedToken(1), Job: schedJobID(2, 7)}, "c1: done 7 rejected")
	b.on(schedClientPeer(2), &wire.Run{Token: schedToken(1), Job: schedJobID(2, 8)}, "c2: done 8 closed")
	b.on(schedClientPeer(2), &wire.Unrun{Token: schedToken(1), Job: schedJobID(1, 1)})
	b.on(schedClientPeer(1), &wire.Unrun{Token: schedToken(1), Job: schedJobID(1, 1)}, "s1: unstart 1")
	b.on(schedServerPeer(9), &wire.Freed{Token: schedToken(1), Job: schedJobID(1, 1)})
	b.on(schedNodePeer(9), &wire.Servers{Token: schedToken(1), Gone: []wire.ServerInfo{schedServerInfo(1)}})
	b.on(schedNodePeer(9), &wire.Released{Token: schedToken(1)})
	b.on(schedServerPeer(9), &wire.Ready{Token: schedToken(1), Node: schedNodePeer(1).ID, Info: schedServerInfo(1)})
	b.on(schedNodePeer(2), &wire.Offer{Node: schedNodePeer(1), Free: true}, "c1: NodeDiscovered node 1002", "n2: reserve")
	b.gone(schedNodePeer(2), "c1: NodeDisconnected node 1002: cut")
	if got, want := b.state.report(schedToken(1), wire.JobID{}), "node h:1001: 1 of 1 servers ready"; got != want {
		t.Errorf("report %q, want %q", got, want)
	}
}

func TestSchedStateReport(t *testing.T) {
	t.Parallel()
	b := newSchedBed(t)
	report := func(want string) {
		t.Helper()
		if got := b.state.report(schedToken(1), wire.JobID{}); got != want {
			t.Errorf("report %q, want %q", got, want)
		}
	}
	report("the scheduler does not know the computation")
	b.on(schedClientPeer(1), &wire.Submit{Token: schedToken(1)}, "c1: ComputationScheduled")
	b.state.at = Location{Addr: "h", Port: 7070}
	report("no node is known to the scheduler at h:7070: start one with that among its Peers")
	b.on(schedNodePeer(1), schedOffer(), "c1: NodeDiscovered node 1001", "n1: reserve")
	report("node h:1001: reserved, its servers are starting")
	b.on(schedNodePeer(1), &wire.Servers{Token: schedToken(1), Reason: "server 1 does not start: no memory"})
	report("node h:1001: reserved, its servers are starting (server 1 does not start: no memory)")
	b.up(1, 1, true)
	report("node h:1001: 1 of 1 servers ready")
	b.on(schedNodePeer(1), &wire.Servers{Token: schedToken(1), Up: []wire.ServerInfo{schedServerInfo(2)}}, "c1: ServerDiscovered node 1001 server 2002")
	report("node h:1001: 1 of 2 servers ready, 1 being set up")
	b.on(schedClientPeer(1), &wire.CloseJob{Token: schedToken(1)}, "n1: release")
	report("node h:1001: closing")
}

// BenchmarkSchedDecision places a run and frees it again, with all the servers about equally loaded.
func BenchmarkSchedDecision(b *testing.B) {
	for _, servers := range []int{10, 1000, 10000} {
		b.Run(fmt.Sprintf("servers=%d", servers), func(b *testing.B) {
			s := newSchedState()
			client := schedClientPeer(1)
			s.frame(client, &wire.Submit{Token: schedToken(1)})
			const each = 10 // servers a node
			for n := range servers / each {
				node := schedNodePeer(n)
				s.frame(node, schedOffer())
				for i := range each {
					info := wire.ServerInfo{Peer: wire.Peer{ID: wire.ID{'s', byte(n >> 8), byte(n), byte(i)}, Host: "h", Port: 10000 + each*n + i}}
					s.frame(info.Peer, &wire.Ready{Token: schedToken(1), Node: node.ID, Info: info})
				}
			}
			var running []*wire.Start
			var at []wire.Peer
			seq := uint64(0)
			run := func() {
				seq++
				s.frame(client, &wire.Run{Token: schedToken(1), Job: wire.JobID{Client: client.ID, Seq: seq}})
				for _, e := range s.take() {
					if f, ok := e.frame.(*wire.Start); ok {
						running, at = append(running, f), append(at, e.to)
					}
				}
			}
			for range servers {
				run()
			}
			if len(slices.Compact(at)) != servers {
				b.Fatalf("%d jobs at servers, want one each at %d", len(at), servers)
			}
			b.ReportAllocs()
			for b.Loop() {
				s.freed(at[0].ID, running[0].Job, true)
				running, at = running[1:], at[1:]
				run()
			}
		})
	}
}
