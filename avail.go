package discoro

import (
	"cmp"
	"time"

	"github.com/discoro/discoro/internal/avail"
	"github.com/discoro/discoro/wire"
)

// NodeAvail is a message that says what a node has to spare. A computation's status coroutine
// receives one from each node when the node begins to serve the computation, and then one every
// ComputationConfig.PulseInterval. A node that started less than a second before sends another one
// at the end of that second, as its first CPU value means little. In asyncoro:
// DiscoroNodeAvailInfo.
type NodeAvail struct {
	Node   string  // the node's location, "host:port"
	CPU    float64 // percent idle, of all CPUs of that machine, since the reading before
	Memory uint64  // bytes available, within the container's limit where there is one
	Disk   uint64  // bytes free on the partition that the node uses
	Swap   float64 // percent free; 100 where there is none
}

const (
	// availInterval is how often a node reads what it has to spare, unless it serves a computation,
	// which has an interval of its own.
	availInterval = 2 * MinPulseInterval
	// availFirst is the time from a node's start to its second reading. It is short because CPU is
	// measured from one reading to the next.
	availFirst = time.Second
)

// readAvail reads what this machine has to spare, for a node whose files go to folder.
func readAvail(folder string) wire.Avail {
	r := avail.Read(folder)
	return wire.Avail{CPU: r.CPU, Memory: r.Memory, Disk: r.Disk, Swap: r.Swap}
}

// watchAvail reads again and again what the machine has to spare, for the node's loop. It is a
// goroutine of the node, as reading blocks, and ends with the runtime.
func (l *nodeLoop) watchAvail() {
	every, next, settled := availInterval, time.Now().Add(availFirst), false
	for {
		timer := time.NewTimer(time.Until(next))
		select {
		case <-timer.C:
			next, settled = time.Now().Add(every), true
			a := readAvail(l.folder)
			l.asks.Put(func(l *nodeLoop) {
				l.avail = a
				l.sendAvail()
			})
		case every = <-l.paces:
			timer.Stop()
			if at := time.Now().Add(every); settled || at.Before(next) {
				next = at
			}
		case <-l.rt.ctx.Done():
			timer.Stop()
			return
		}
	}
}

// readAvailEvery sets the interval of watchAvail; 0: availInterval. It never blocks, as only the
// node's loop calls it and removes the value that watchAvail has not yet received.
func (l *nodeLoop) readAvailEvery(every time.Duration) {
	select {
	case <-l.paces:
	default:
	}
	l.paces <- cmp.Or(every, availInterval)
}

// sendAvail sends the latest reading to the client, through the scheduler.
func (l *nodeLoop) sendAvail() {
	v := l.serving
	if v == nil || v.releasing {
		return
	}
	a := l.avail
	a.Token = v.reserve.Token
	v.scheduler.Tell(&a)
}

// applyAvail hands a node's reading to the status coroutine. It runs on the link's reader.
func (p *Computation) applyAvail(f *wire.Avail) {
	p.mu.Lock()
	if p.state != compOver {
		p.outbox.put(NodeAvail{Node: f.Node, CPU: f.CPU, Memory: f.Memory, Disk: f.Disk, Swap: f.Swap})
	}
	p.mu.Unlock()
	p.flush()
}
