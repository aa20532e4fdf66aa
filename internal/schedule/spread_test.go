package schedule

import (
	"testing"
	"time"

	"github.com/discoro/discoro/wire"
)

// TestSchedSpread has runs wait for servers that become ready one after the other: each server gets its
// share. When one does not come, the rest goes to the others.
func TestSchedSpread(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.state.now = time.Unix(1e9, 0)
	b.on(clientPeer(1), submit(1, 0), "c1: ComputationScheduled", "c1: reply 1")
	b.on(nodePeer(1), &wire.Offer{Free: true, CPUs: 2}, "c1: NodeDiscovered node 1001", "n1: reserve")
	b.on(nodePeer(2), &wire.Offer{Free: true, CPUs: 1}, "c1: NodeDiscovered node 1002", "n2: reserve")
	for i := range 6 {
		b.run(i+1, wire.Where{})
	}
	b.up(1, 1, true, "s1: start 1", "s1: start 2")
	b.run(7, wire.Where{}, "s1: start 7") // seven runs for three servers: three each
	b.run(8, wire.Where{})
	b.run(9, wire.Where{Node: "h:1001"}, "s1: start 9") // a run that is bound to the node has no share
	b.up(2, 2, true, "s2: start 3", "s2: start 4", "s2: start 5")
	b.after(spreadFor-1, nil...)
	b.after(1, "s2: start 6", "s2: start 8") // s3 has not become ready in time
	b.run(10, wire.Where{}, "s1: start 10")
	b.up(1, 3, false)
	for i := range 4 {
		b.run(11+i, wire.Where{}, "s3: start "+string(rune('1'))+string(rune('1'+i)))
	}
}

// TestSchedSpreadIdle gives a server more than its share when it has nothing to do.
func TestSchedSpreadIdle(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.state.now = time.Unix(1e9, 0)
	b.on(clientPeer(1), submit(1, 0), "c1: ComputationScheduled", "c1: reply 1")
	b.on(nodePeer(1), &wire.Offer{Free: true, CPUs: 3}, "c1: NodeDiscovered node 1001", "n1: reserve")
	for i := range 4 {
		b.run(i+1, wire.Where{})
	}
	b.up(1, 1, true, "s1: start 1", "s1: start 2")
	b.on(serverPeer(1), &wire.Freed{Token: token(1), Job: jobID(1, 1)})
	b.on(serverPeer(1), &wire.Freed{Token: token(1), Job: jobID(1, 2)}, "s1: start 3")
	b.on(serverPeer(1), &wire.Freed{Token: token(1), Job: jobID(1, 3)}, "s1: start 4")
}

// TestSchedSpreadLooksAgain has Tick called for another reason while no run waits: runs that are held
// back afterwards are placed all the same when the time is over.
func TestSchedSpreadLooksAgain(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.state.now = time.Unix(1e9, 0)
	b.on(clientPeer(1), submit(1, 0), "c1: ComputationScheduled", "c1: reply 1")
	b.on(nodePeer(1), &wire.Offer{Free: true, CPUs: 2, Zombie: int64(time.Hour)}, "c1: NodeDiscovered node 1001",
		"n1: reserve")
	b.after(time.Hour - 1)
	b.up(1, 1, true)
	b.after(2) // Tick is called, as the node could have been idle
	b.run(1, wire.Where{}, "s1: start 1")
	b.run(2, wire.Where{})
	b.after(spreadFor, "s1: start 2")
}
