package schedule

import (
	"container/list"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/wire"
)

// bed feeds a State and compares what it decides, one line for each effect.
type bed struct {
	*testing.T
	state *State
}

func newBed(t *testing.T) *bed {
	t.Helper()
	return &bed{T: t, state: newState()}
}

// newState returns a State whose errors arrive as their text, with the sentinel in Codes, and with
// the port of the server that was lost.
func newState() *State {
	return New(Config{At: "h:7070", Failure: failure, Lost: func(server wire.Peer, _ string, cause error) error {
		return &lostError{server.Port, cause}
	}})
}

func failure(err error) *wire.Failure {
	f := &wire.Failure{Msg: err.Error()}
	for _, is := range []error{
		fault.Terminated, fault.NotFound, fault.NoServer, fault.Rejected, fault.Closed, fault.Disconnected,
	} {
		if errors.Is(err, is) {
			f.Codes = []string{is.Error()}
			break
		}
	}
	if lost := (*lostError)(nil); errors.As(err, &lost) {
		f.Port = lost.port
	}
	return f
}

// lostError stands for the error of a run whose server is lost.
type lostError struct {
	port  int
	cause error
}

func (e *lostError) Error() string { return e.cause.Error() }
func (e *lostError) Unwrap() error { return e.cause }

// statusNames are the names of the kinds of statuses in tests.
var statusNames = map[uint8]string{
	wire.StatusNodeDiscovered: "NodeDiscovered", wire.StatusNodeInitialized: "NodeInitialized", wire.StatusNodeClosed: "NodeClosed",
	wire.StatusNodeIgnore: "NodeIgnore", wire.StatusNodeDisconnected: "NodeDisconnected",
	wire.StatusServerDiscovered: "ServerDiscovered", wire.StatusServerInitialized: "ServerInitialized", wire.StatusServerClosed: "ServerClosed",
	wire.StatusServerIgnore: "ServerIgnore", wire.StatusServerDisconnected: "ServerDisconnected",
	wire.StatusComputationScheduled: "ComputationScheduled", wire.StatusComputationClosed: "ComputationClosed",
}

// statusText writes a status as "kind node server: reason".
func statusText(f *wire.Status) string {
	text := statusNames[f.What]
	if f.Node != "" {
		text += " node " + f.Node
	}
	if f.Server.Port != 0 {
		text += " server " + locationOf(f.Server).String()
	}
	if f.Reason != "" {
		text += ": " + f.Reason
	}
	return text
}

// The peers of the tests: n1 is a node, s1 a server, c1 a client. The number is in their port, too.
func peer(kind byte, n int) wire.Peer {
	port := map[byte]int{'n': 1000, 's': 2000, 'c': 3000}[kind] + n
	return wire.Peer{ID: wire.ID{kind, byte(n >> 8), byte(n)}, Host: "h", Port: port}
}

func nodePeer(n int) wire.Peer   { return peer('n', n) }
func serverPeer(n int) wire.Peer { return peer('s', n) }
func clientPeer(n int) wire.Peer { return peer('c', n) }

func peerName(p wire.Peer) string {
	return fmt.Sprintf("%c%d", p.ID[0], int(p.ID[1])<<8|int(p.ID[2]))
}

func token(n int) wire.Token { return wire.Token{byte(n)} }

func jobID(client, seq int) wire.JobID {
	return wire.JobID{Client: clientPeer(client).ID, Seq: uint64(seq)}
}

func serverInfo(n int) wire.ServerInfo { return wire.ServerInfo{Peer: serverPeer(n)} }

// on feeds a frame and compares the effects.
func (b *bed) on(from wire.Peer, f wire.Frame, want ...string) {
	b.Helper()
	b.state.Frame(b.state.now, from, f)
	b.expect(fmt.Sprintf("%T from %s", f, peerName(from)), want)
}

// gone feeds the end of a link and compares the effects.
func (b *bed) gone(p wire.Peer, want ...string) {
	b.Helper()
	b.state.Down(b.state.now, p.ID, "cut")
	b.expect("the end of "+peerName(p), want)
}

func (b *bed) expect(what string, want []string) {
	b.Helper()
	got := []string{}
	for _, e := range b.state.Take() {
		got = append(got, effectText(e))
	}
	if diff := cmp.Diff(append([]string{}, want...), got); diff != "" {
		b.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// effectText writes an effect as "to: what".
func effectText(e Effect) string {
	text := ""
	switch f := e.Frame.(type) {
	case nil:
		text = fmt.Sprint("reply ", e.Call)
		if e.Answer.Err != nil {
			text += " error"
		}
	case *wire.Status:
		text = strings.TrimSpace(strings.ReplaceAll(statusText(f), "h:", ""))
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
		if f.Err.Port != 0 {
			text += fmt.Sprintf(" lost %d", f.Err.Port)
		}
	case *wire.Done:
		text = fmt.Sprintf("done %d %s", f.Job.Seq, f.Outcome.Err.Codes[0])
		if f.Outcome.Err.Port != 0 {
			text += fmt.Sprintf(" lost %d", f.Outcome.Err.Port)
		}
	}
	return peerName(e.To) + ": " + text
}

// offer returns the Offer of a free node with these functions.
func offer(functions ...string) *wire.Offer {
	return &wire.Offer{Free: true, Functions: functions}
}

// serving makes c1's computation active, with servers s1..sn ready at node n1.
func (b *bed) serving(servers int) {
	b.Helper()
	b.on(clientPeer(1), &wire.Submit{Call: 1, Token: token(1)}, "c1: ComputationScheduled", "c1: reply 1")
	b.on(nodePeer(1), offer(), "c1: NodeDiscovered node 1001", "n1: reserve")
	for i := range servers {
		b.up(1, i+1, i == 0)
	}
}

// up makes a server of a node ready.
func (b *bed) up(node, server int, first bool, started ...string) {
	b.Helper()
	n, at := nodePeer(node), fmt.Sprintf(" node %d server %d", 1000+node, 2000+server)
	b.on(n, &wire.Servers{Token: token(1), Up: []wire.ServerInfo{serverInfo(server)}}, "c1: ServerDiscovered"+at)
	want := []string{"c1: ServerInitialized" + at}
	if first {
		want = []string{fmt.Sprintf("c1: NodeInitialized node %d", 1000+node), want[0]}
	}
	b.on(serverPeer(server), &wire.Ready{Token: token(1), Node: n.ID, Info: serverInfo(server)},
		append(want, started...)...)
}

func (b *bed) run(seq int, where wire.Where, want ...string) {
	b.Helper()
	b.on(clientPeer(1), &wire.Run{Token: token(1), Job: jobID(1, seq), Where: where}, want...)
}

// TestSchedWaitingIsBounded has more runs wait for servers than the scheduler keeps, by number and by
// size.
func TestSchedWaitingIsBounded(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.on(clientPeer(1), &wire.Submit{Call: 1, Token: token(1)}, "c1: ComputationScheduled", "c1: reply 1")
	large := make([]byte, maxWaitingBytes/16-len("f"))
	seq := 0
	run := func(arg []byte, want ...string) {
		t.Helper()
		seq++
		f := &wire.Run{Token: token(1), Job: jobID(1, seq), Call: wire.FuncCall{Func: "f", Arg: arg}}
		b.on(clientPeer(1), f, want...)
	}
	for range 16 {
		run(large)
	}
	run(large[:1], "c1: done 17 rejected")
	b.on(clientPeer(1), &wire.Unrun{Token: token(1), Job: jobID(1, 3)}, "c1: done 3 no server")
	run(large)
	run(large, "c1: done 19 rejected")
	b.on(nodePeer(1), offer(), "c1: NodeDiscovered node 1001", "n1: reserve") // the runs are tried again, and still wait
	run(nil, "c1: done 20 rejected")                                          // names count, too
	if n := b.state.active.waiting.bytes; n != maxWaitingBytes {
		t.Errorf("%d bytes wait", n)
	}
	b.state.active.waiting = runQueue{at: make(map[wire.JobID]*list.Element, maxWaiting)}
	for i := range maxWaiting {
		b.state.active.waiting.at[jobID(1, -i)] = nil // only the number of entries counts
	}
	run(nil, "c1: done 21 rejected")
	delete(b.state.active.waiting.at, jobID(1, 0))
	run(nil)
	run(nil, "c1: done 23 rejected")
	b.state.cfg.Self = clientPeer(1).ID // a client in the same runtime would hold the runs itself
	run(large)
}

func TestSchedStateWholeComputation(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.serving(2)
	b.run(1, wire.Where{}, "s1: start 1")
	b.run(2, wire.Where{}, "s2: start 2")
	b.on(serverPeer(2), &wire.Freed{Token: token(1), Job: jobID(1, 2)})
	b.run(3, wire.Where{}, "s2: start 3")
	b.on(serverPeer(1), &wire.Done{Job: jobID(1, 1)})
	b.on(clientPeer(1), &wire.CloseComputation{Call: 2, Token: token(1)}, "n1: release")
	b.on(nodePeer(1), &wire.Released{Token: token(1)},
		"c1: ServerClosed node 1001 server 2001", "c1: done 3 terminated", "c1: ServerClosed node 1001 server 2002",
		"c1: NodeClosed node 1001", "c1: ComputationClosed", "c1: reply 2")
}

// TestSchedStateUnheard loses a server where jobs have ended: the client is notified of those that it
// may not know, and only when the server can no longer report them itself.
func TestSchedStateUnheard(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.serving(2)
	freed := func(server, job int) {
		b.Helper()
		b.on(serverPeer(server), &wire.Freed{Token: token(1), Job: jobID(1, job)})
	}
	heard := func(server, of int, jobs uint64) {
		b.Helper()
		b.on(serverPeer(server), &wire.Heard{Token: token(of), Jobs: jobs})
	}
	at := wire.Where{Host: "h", Port: 2001}
	for i := 1; i <= 6; i++ {
		b.run(i, at, fmt.Sprint("s1: start ", i))
	}
	for _, i := range []int{3, 1, 2, 5} {
		freed(1, i)
	}
	b.on(serverPeer(1), &wire.Done{Token: token(1), Job: jobID(1, 6)}) // the client has received it as well
	heard(1, 1, 2)
	heard(1, 2, 1) // for another computation
	heard(2, 1, 1) // from another server
	heard(9, 1, 1) // from a peer that is no server
	b.gone(serverPeer(1), "c1: done 4 disconnected lost 2001", "c1: unheard 2 lost 2001", "c1: unheard 5 lost 2001",
		"c1: ServerDisconnected node 1001 server 2001: cut")
	heard(1, 1, 1)

	b.run(7, wire.Where{}, "s2: start 7")
	b.run(8, wire.Where{}, "s2: start 8")
	freed(2, 7)
	heard(2, 1, math.MaxUint64)

	// A server closes in order while the computation goes on.
	b.on(nodePeer(2), offer(), "c1: NodeDiscovered node 1002", "n2: reserve")
	b.up(2, 3, true)
	b.up(2, 4, false)
	for i := 9; i <= 11; i++ {
		b.run(i, wire.Where{Host: "h", Port: 2003}, fmt.Sprint("s3: start ", i))
	}
	for i := 9; i <= 11; i++ {
		freed(3, i)
	}
	heard(3, 1, 1)
	b.on(nodePeer(2), &wire.Offer{Leaving: true, Reason: "it is leaving"}, "n2: let go")
	b.gone(serverPeer(3), "c1: unheard 10 lost 2003", "c1: unheard 11 lost 2003", "c1: ServerClosed node 1002 server 2003")
	heard(3, 1, 2) // arrives late
	b.on(nodePeer(2), &wire.Released{Token: token(1)},
		"c1: ServerClosed node 1002 server 2004: it is leaving", "c1: NodeClosed node 1002: it is leaving")

	// All runs end with the computation.
	freed(2, 8)
	b.on(clientPeer(1), &wire.CloseComputation{Call: 2, Token: token(1)}, "n1: release")
	b.on(nodePeer(1), &wire.Released{Token: token(1)},
		"c1: ServerClosed node 1001 server 2002", "c1: NodeClosed node 1001", "c1: ComputationClosed", "c1: reply 2")
}

func TestSchedStateLostServer(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.serving(2)
	b.run(1, wire.Where{Host: "h", Port: 2001}, "s1: start 1")
	b.run(2, wire.Where{Host: "h", Port: 2001}, "s1: start 2")
	b.gone(serverPeer(1), "c1: done 2 disconnected lost 2001", "c1: done 1 disconnected lost 2001",
		"c1: ServerDisconnected node 1001 server 2001: cut")
	b.run(3, wire.Where{Host: "h", Port: 2001}, "c1: done 3 not found")
	b.run(4, wire.Where{}, "s2: start 4")
	// The reports of the server and its node arrive late, over links of their own.
	b.on(serverPeer(1), &wire.Freed{Token: token(1), Job: jobID(1, 1)})
	b.on(nodePeer(1), &wire.Servers{Token: token(1), Gone: []wire.ServerInfo{serverInfo(1)}, Reason: "killed"})
	// A server that has lost its client cannot report how its jobs end.
	b.on(serverPeer(2), &wire.Ready{
		Token: token(1), Node: nodePeer(1).ID, Info: serverInfo(2),
		Err: failure(fault.Disconnected),
	},
		"c1: done 4 disconnected lost 2002", "c1: ServerDisconnected node 1001 server 2002: disconnected")
}

// TestSchedStateServerAtTheSamePlace has a node restart, with fixed ports, before its silence was
// noticed. Clients know servers by location: the old server has to end before the new one begins.
func TestSchedStateServerAtTheSamePlace(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.serving(1)
	b.run(1, wire.Where{}, "s1: start 1")
	b.on(nodePeer(2), offer(), "c1: NodeDiscovered node 1002", "n2: reserve")
	fresh := wire.ServerInfo{Peer: serverPeer(1)}
	fresh.Peer.ID = serverPeer(7).ID
	b.on(nodePeer(2), &wire.Servers{Token: token(1), Up: []wire.ServerInfo{fresh}},
		"c1: done 1 disconnected lost 2001",
		"c1: ServerDisconnected node 1001 server 2001: another server has started at its location, of node 1002: "+
			"if both nodes live, their servers need addresses or ports that differ (ExtAddr, TCPPorts)",
		"c1: ServerDiscovered node 1002 server 2001")
	b.on(fresh.Peer, &wire.Ready{Token: token(1), Node: nodePeer(2).ID, Info: fresh},
		"c1: NodeInitialized node 1002", "c1: ServerInitialized node 1002 server 2001")
	b.gone(serverPeer(1))
	b.gone(nodePeer(1), "c1: NodeDisconnected node 1001: cut")
	b.run(2, wire.Where{Host: "h", Port: 2001}, "s7: start 2")
}

func TestSchedStateWaitingRunsEnd(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.serving(0)
	b.run(1, wire.Where{})
	b.run(2, wire.Where{Node: "h:1001"})
	b.run(3, wire.Where{Node: "h"})
	b.run(4, wire.Where{Node: "elsewhere"}, "c1: done 4 not found")
	b.on(nodePeer(1), &wire.Servers{Token: token(1), Up: []wire.ServerInfo{serverInfo(1), serverInfo(2)}},
		"c1: ServerDiscovered node 1001 server 2001", "c1: ServerDiscovered node 1001 server 2002")
	b.run(5, wire.Where{Host: "h", Port: 2001})
	b.run(6, wire.Where{Host: "h", Port: 2002})
	b.on(clientPeer(1), &wire.Unrun{Token: token(1), Job: jobID(1, 1)}, "c1: done 1 no server")
	b.on(serverPeer(1), &wire.Ready{
		Token: token(1), Node: nodePeer(1).ID, Info: serverInfo(1),
		Err: failure(errors.New("no disk")),
	},
		"c1: ServerIgnore node 1001 server 2001: no disk", "c1: done 5 not found")
	b.on(nodePeer(1), &wire.Servers{Token: token(1), Gone: []wire.ServerInfo{serverInfo(2)}, Reason: "killed"},
		"c1: ServerDisconnected node 1001 server 2002: killed", "c1: done 6 not found")
	b.gone(nodePeer(1), "c1: NodeDisconnected node 1001: cut", "c1: done 2 not found", "c1: done 3 not found")
	b.run(7, wire.Where{})
	b.on(clientPeer(1), &wire.CloseComputation{Token: token(1)}, "c1: done 7 closed", "c1: ComputationClosed")
	b.run(8, wire.Where{}, "c1: done 8 closed")
}

// TestSchedStateWaitsAtNode has a run wait for a node whose servers never come.
func TestSchedStateWaitsAtNode(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.serving(0)
	b.run(1, wire.Where{Node: "h:1001"})
	b.gone(nodePeer(1), "c1: NodeDisconnected node 1001: cut", "c1: done 1 not found")
}

// TestSchedStateStaleOffer has a node offer itself before it has received the Release: its Released must
// still count.
func TestSchedStateStaleOffer(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.serving(0)
	b.on(clientPeer(1), &wire.CloseComputation{Call: 9, Token: token(1)}, "n1: release")
	b.on(nodePeer(1), offer())
	b.on(nodePeer(1), &wire.Released{Token: token(1)}, "c1: NodeClosed node 1001", "c1: ComputationClosed", "c1: reply 9")
}

func TestSchedStateQueue(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.serving(1)
	b.on(clientPeer(1), &wire.Submit{Call: 5, Token: token(1)}, "c1: reply 5 error")
	b.on(clientPeer(2), &wire.Submit{Call: 1, Token: token(2)}, "c2: queued 1")
	b.on(clientPeer(3), &wire.Submit{Call: 1, Token: token(3)}, "c3: queued 2")
	b.on(clientPeer(4), &wire.Submit{Call: 1, Token: token(4)}, "c4: queued 3")
	b.on(clientPeer(4), &wire.CloseComputation{Call: 2, Token: token(4)}, "c4: ComputationClosed",
		"c4: reply 1 error", "c4: reply 2")
	b.gone(clientPeer(2), "c3: queued 1")
	want := "it is number 1 in the scheduler's queue, behind a computation of h:3001"
	if got := b.state.report(token(3), wire.JobID{}); got != want {
		t.Errorf("report %q, want %q", got, want)
	}
	b.run(1, wire.Where{}, "s1: start 1")
	b.gone(clientPeer(1), "n1: release") // and nothing to c1, which is gone
	b.on(nodePeer(1), &wire.Released{Token: token(1)},
		"c3: ComputationScheduled", "c3: reply 1", "c3: NodeDiscovered node 1001")
	b.on(nodePeer(1), offer(), "n1: reserve") // not ignored for restarting its servers
}

func TestSchedStateNodesThatDoNotServe(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.on(clientPeer(1), &wire.Submit{Token: token(1), Functions: []string{"b"}}, "c1: ComputationScheduled")
	b.on(nodePeer(1), &wire.Offer{Free: true, Functions: []string{"a", "c"}, Build: "prog"},
		"c1: NodeDiscovered node 1001", `c1: NodeIgnore node 1001: its program (prog) has not registered function "b"`)
	b.on(nodePeer(2), &wire.Offer{Functions: []string{"b"}, Reason: "it serves another computation"},
		"c1: NodeDiscovered node 1002", "c1: NodeIgnore node 1002: it serves another computation")
	b.on(nodePeer(2), &wire.Offer{Functions: []string{"b"}, Reason: "it serves another computation"}) // the client is notified once
	b.on(nodePeer(2), offer("b"), "n2: reserve")
	b.on(nodePeer(2), &wire.Released{Token: token(1), Reason: "another was quicker"},
		"c1: NodeIgnore node 1002: another was quicker")
	b.on(nodePeer(2), offer("b"), "n2: reserve")
	b.up(2, 1, true)
	b.on(nodePeer(2), &wire.Released{Token: token(1), Reason: "closed at the node"},
		"c1: ServerClosed node 1002 server 2001: closed at the node", "c1: NodeClosed node 1002: closed at the node")
	b.on(nodePeer(2), offer("b")) // it has left this computation, but not the next
	want := `node h:1001: not used: its program (prog) has not registered function "b"; node h:1002: not used: closed at the node`
	if got := b.state.report(token(1), wire.JobID{}); got != want {
		t.Errorf("report %q, want %q", got, want)
	}
	b.on(clientPeer(1), &wire.CloseComputation{Token: token(1)}, "c1: ComputationClosed")
	b.on(clientPeer(2), &wire.Submit{Token: token(2)}, "c2: ComputationScheduled",
		"c2: NodeDiscovered node 1001", "n1: reserve", "c2: NodeDiscovered node 1002", "n2: reserve")
}

// TestSchedStateNodeLeaves has a node leave with a job, change its mind, and leave for good; another takes its place.
func TestSchedStateNodeLeaves(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.serving(2)
	b.run(1, wire.Where{}, "s1: start 1")
	leaving := &wire.Offer{Leaving: true, Reason: "it is leaving"}
	b.on(nodePeer(1), leaving)
	b.run(2, wire.Where{Host: "h", Port: 2002}, "c1: done 2 no server")
	b.run(3, wire.Where{Node: "h:1001"}, "c1: done 3 not found")
	b.run(4, wire.Where{}) // waits
	b.on(nodePeer(1), &wire.Offer{Reason: "it serves another computation"}, "s2: start 4")
	b.on(serverPeer(2), &wire.Freed{Token: token(1), Job: jobID(1, 4)})
	b.on(nodePeer(1), leaving)
	b.run(5, wire.Where{}) // waits
	b.on(serverPeer(1), &wire.Freed{Token: token(1), Job: jobID(1, 1)}, "n1: let go")
	b.on(nodePeer(1), &wire.Offer{Reason: "it is ending another computation"})
	b.run(6, wire.Where{Host: "h", Port: 2002}, "c1: done 6 no server")
	b.on(nodePeer(1), leaving)
	b.on(nodePeer(1), &wire.Released{Token: token(1)},
		"c1: unheard 1 lost 2001", "c1: ServerClosed node 1001 server 2001: it is leaving",
		"c1: unheard 4 lost 2002", "c1: ServerClosed node 1001 server 2002: it is leaving",
		"c1: NodeClosed node 1001: it is leaving")
	b.on(nodePeer(1), leaving, "c1: NodeIgnore node 1001: it is leaving")
	b.on(nodePeer(2), offer(), "c1: NodeDiscovered node 1002", "n2: reserve")
	b.up(2, 3, true, "s3: start 5")
	b.on(nodePeer(1), offer(), "n1: reserve") // its hours of service have begun
}

// TestSchedStateIdleNodeLeaves has a node leave that runs nothing, and a node that loses its last job
// with its server.
func TestSchedStateIdleNodeLeaves(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.serving(1)
	b.run(1, wire.Where{}, "s1: start 1")
	b.on(nodePeer(1), &wire.Offer{Leaving: true, Reason: "it is leaving"})
	b.gone(serverPeer(1), "c1: done 1 disconnected lost 2001", "c1: ServerDisconnected node 1001 server 2001: cut",
		"n1: let go")
	b.on(nodePeer(2), offer(), "c1: NodeDiscovered node 1002", "n2: reserve")
	b.up(2, 2, true)
	b.on(nodePeer(2), &wire.Offer{Leaving: true, Reason: "it is leaving"}, "n2: let go")
	b.on(clientPeer(1), &wire.CloseComputation{Call: 2, Token: token(1)}, "n1: release", "n2: release") // they no longer wait for the client
	b.on(nodePeer(1), &wire.Released{Token: token(1)}, "c1: NodeClosed node 1001")
	b.on(nodePeer(2), &wire.Released{Token: token(1)}, "c1: ServerClosed node 1002 server 2002",
		"c1: NodeClosed node 1002", "c1: ComputationClosed", "c1: reply 2")
}

// TestSchedStateTrustsLinks has peers send frames in the name of others.
func TestSchedStateTrustsLinks(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.serving(1)
	b.run(1, wire.Where{}, "s1: start 1")
	b.run(1, wire.Where{}, "c1: done 1 rejected")
	b.on(clientPeer(1), &wire.Run{Token: token(1), Job: jobID(2, 7)}, "c1: done 7 rejected")
	b.on(clientPeer(2), &wire.Run{Token: token(1), Job: jobID(2, 8)}, "c2: done 8 closed")
	b.on(clientPeer(2), &wire.Unrun{Token: token(1), Job: jobID(1, 1)})
	b.on(clientPeer(1), &wire.Unrun{Token: token(1), Job: jobID(1, 1)}, "s1: unstart 1")
	b.on(serverPeer(9), &wire.Freed{Token: token(1), Job: jobID(1, 1)})
	b.on(nodePeer(9), &wire.Servers{Token: token(1), Gone: []wire.ServerInfo{serverInfo(1)}})
	b.on(nodePeer(9), &wire.Released{Token: token(1)})
	b.on(serverPeer(9), &wire.Ready{Token: token(1), Node: nodePeer(1).ID, Info: serverInfo(1)})
	b.on(nodePeer(2), &wire.Offer{Node: nodePeer(1), Free: true}, "c1: NodeDiscovered node 1002", "n2: reserve")
	b.gone(nodePeer(2), "c1: NodeDisconnected node 1002: cut")
	if got, want := b.state.report(token(1), wire.JobID{}), "node h:1001: 1 of 1 servers ready"; got != want {
		t.Errorf("report %q, want %q", got, want)
	}
}

func TestSchedStateReport(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	report := func(want string) {
		t.Helper()
		if got := b.state.report(token(1), wire.JobID{}); got != want {
			t.Errorf("report %q, want %q", got, want)
		}
	}
	report("the scheduler does not know the computation")
	b.on(clientPeer(1), &wire.Submit{Token: token(1)}, "c1: ComputationScheduled")
	report("no node is known to the scheduler at h:7070: start one with that among its Peers")
	b.on(nodePeer(1), offer(), "c1: NodeDiscovered node 1001", "n1: reserve")
	report("node h:1001: reserved, its servers are starting")
	b.on(nodePeer(1), &wire.Servers{Token: token(1), Reason: "server 1 does not start: no memory"})
	report("node h:1001: reserved, its servers are starting (server 1 does not start: no memory)")
	b.up(1, 1, true)
	report("node h:1001: 1 of 1 servers ready")
	b.on(nodePeer(1), &wire.Servers{Token: token(1), Up: []wire.ServerInfo{serverInfo(2)}},
		"c1: ServerDiscovered node 1001 server 2002")
	report("node h:1001: 1 of 2 servers ready, 1 being set up")
	b.on(clientPeer(1), &wire.CloseComputation{Token: token(1)}, "n1: release")
	report("node h:1001: closing")
}

// BenchmarkSchedDecision places a run and ends it again, with all servers about equally loaded.
func BenchmarkSchedDecision(b *testing.B) {
	for _, servers := range []int{10, 1000, 10000} {
		b.Run(fmt.Sprintf("servers=%d", servers), func(b *testing.B) {
			s := newState()
			client := clientPeer(1)
			s.Frame(s.now, client, &wire.Submit{Token: token(1)})
			const each = 10 // servers of each node
			for n := range servers / each {
				node := nodePeer(n)
				s.Frame(s.now, node, offer())
				for i := range each {
					info := wire.ServerInfo{Peer: wire.Peer{
						ID:   wire.ID{'s', byte(n >> 8), byte(n), byte(i)},
						Host: "h", Port: 10000 + each*n + i,
					}}
					s.Frame(s.now, info.Peer, &wire.Ready{Token: token(1), Node: node.ID, Info: info})
				}
			}
			var running []*wire.Start
			var at []wire.Peer
			seq := uint64(0)
			run := func() {
				seq++
				s.Frame(s.now, client, &wire.Run{Token: token(1), Job: wire.JobID{Client: client.ID, Seq: seq}})
				for _, e := range s.Take() {
					if f, ok := e.Frame.(*wire.Start); ok {
						running, at = append(running, f), append(at, e.To)
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
