package avail

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/shirou/gopsutil/v3/cpu"
	"github.com/shirou/gopsutil/v3/disk"
	"github.com/shirou/gopsutil/v3/mem"
)

// A Reading is what a machine has to spare at one moment. A field is 0 where it cannot be read.
type Reading struct {
	CPU    float64 // percent idle, of all CPUs, since the reading before
	Memory uint64  // bytes that are available, within the container's limit where there is one
	Disk   uint64  // bytes that are free
	Swap   float64 // percent free; 100 where there is no swap
}

// Read reads what this machine has to spare. Disk is that of the partition of folder.
func Read(folder string) Reading {
	r := Reading{Swap: 100}
	if busy, err := cpu.Percent(0, false); err == nil && len(busy) == 1 {
		r.CPU = 100 - busy[0]
	}
	if m, err := mem.VirtualMemory(); err == nil {
		r.Memory = min(m.Available, cgroupMemory("/sys/fs/cgroup"))
	}
	if s, err := mem.SwapMemory(); err == nil && s.Total > 0 {
		r.Swap = 100 - s.UsedPercent
	}
	if d, err := disk.Usage(folder); err == nil {
		r.Disk = d.Free
	}
	return r
}

// noLimit is the result of cgroupMemory where there is no limit.
const noLimit = ^uint64(0)

// cgroupMemory returns how many more bytes of memory this process's container may use, by the
// control group at root, which has version 2 or 1. File caches do not count as used.
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

// readNumber reads a file that holds a number. It returns false for any other text, such as "max".
func readNumber(path string) (uint64, bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil
}

// readStat returns the number of a key in a file of keys and numbers, 0 when there is none.
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
