package discoro

import (
	"cmp"
	"time"

	"github.com/discoro/discoro/internal/avail"
	"github.com/discoro/discoro/wire"
)

// NodeAvail tells what a node has to spare. A computation's status coroutine receives one for each node when the node
// begins to serve it, and again at every ComputationConfig.PulseInterval while it does; from a node that started less than a second
// before, whose CPU says little yet, also at the end of that second. In asyncoro: DiscoroNodeAvailInfo.
type NodeAvail struct {
	Node   string  // the node's location, "host:port"
	CPU    float64 // percent idle, of all CPUs of that machine, since the reading before
	Memory uint64  // bytes available, within the limits of the container where there is one
	Disk   uint64  // bytes free on the partition that the node uses
	Swap   float64 // percent free; 100 where there is none
}

// availInterval is how often a node reads what it has to spare, unless it serves a computation that wants it otherwise.
const availInterval = 2 * MinPulseInterval

// availFirst is when a node reads again after it has started: how busy the CPUs are is measured between two readings.
const availFirst = time.Second

// readAvail reads what this machine has to spare, for a node whose files go to folder.
func readAvail(folder string) wire.Avail {
	r := avail.Read(folder)
	return wire.Avail{CPU: r.CPU, Memory: r.Memory, Disk: r.Disk, Swap: r.Swap}
}

// watchAvail keeps the node's reading new. It ends with the runtime.
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
				l.tellAvail()
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

// readAvailEvery sets how often it is read; 0: as usual. Only the node's loop calls it, and never waits.
func (l *nodeLoop) readAvailEvery(every time.Duration) {
	select {
	case <-l.paces: // the one before it has not been seen
	default:
	}
	l.paces <- cmp.Or(every, availInterval)
}

// tellAvail tells the client, by way of the scheduler, what the node has to spare.
func (l *nodeLoop) tellAvail() {
	v := l.serving
	if v == nil || v.releasing {
		return
	}
	a := l.avail
	a.Token = v.reserve.Token
	v.scheduler.tell(&a)
}

// hearAvail takes what a node has to spare. It runs on the link's reader.
func (p *Computation) hearAvail(f *wire.Avail) {
	p.mu.Lock()
	if p.state != compOver {
		p.told.put(NodeAvail{Node: f.Node, CPU: f.CPU, Memory: f.Memory, Disk: f.Disk, Swap: f.Swap})
	}
	p.mu.Unlock()
	p.flush()
}
