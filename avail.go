package discoro

import (
	"cmp"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/shirou/gopsutil/v3/cpu"
	"github.com/shirou/gopsutil/v3/disk"
	"github.com/shirou/gopsutil/v3/mem"

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

// readAvail reads what this machine has to spare; folder is on the partition that counts. What cannot be read is 0.
func readAvail(folder string) wire.Avail {
	a := wire.Avail{Swap: 100}
	if busy, err := cpu.Percent(0, false); err == nil && len(busy) == 1 {
		a.CPU = 100 - busy[0]
	}
	if m, err := mem.VirtualMemory(); err == nil {
		a.Memory = min(m.Available, cgroupMemory("/sys/fs/cgroup"))
	}
	if s, err := mem.SwapMemory(); err == nil && s.Total > 0 {
		a.Swap = 100 - s.UsedPercent
	}
	if d, err := disk.Usage(folder); err == nil {
		a.Disk = d.Free
	}
	return a
}

// noLimit is what cgroupMemory gives where there is no limit.
const noLimit = ^uint64(0)

// cgroupMemory returns how many bytes of memory the control group below root, version 2 or 1, lets this process's container
// take yet; files that are merely cached do not count as taken.
func cgroupMemory(root string) uint64 {
	for _, v := range []struct{ dir, limit, used, cached string }{
		{"", "memory.max", "memory.current", "inactive_file"},
		{"memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"},
	} {
		limit, ok := readNumber(filepath.Join(root, v.dir, v.limit))
		used, usedOK := readNumber(filepath.Join(root, v.dir, v.used))
		if !ok || !usedOK {
			continue
		}
		used -= min(used, readStat(filepath.Join(root, v.dir, "memory.stat"), v.cached))
		return limit - min(limit, used)
	}
	return noLimit
}

// readNumber reads a file that holds a number; "max" is none.
func readNumber(path string) (uint64, bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil
}

// readStat returns the number of a key in a file of keys and numbers; 0 where it is not.
func readStat(path, key string) uint64 {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name == key {
			n, _ := strconv.ParseUint(value, 10, 64)
			return n
		}
	}
	return 0
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
			l.asks.put(func(l *nodeLoop) {
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
