// Package avail reads what the machine has to spare: CPU, memory, disk and swap. It is the only
// package that imports gopsutil.
//
// The package has no goroutine and no lock of its own. [Read] may be called from any goroutine;
// because gopsutil measures CPU from one call to the next, one goroutine a process should call it.
package avail
