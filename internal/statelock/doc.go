// Package statelock keeps a user from running two nodes of one name on a machine. A node that runs
// has locked a file, which the system unlocks when the node's process ends, however that happens.
//
// Which process has the lock is what the system says, never what the file says: [Acquire] with
// Phoenix ends that process, and must not end another one that has its number by now. The file's
// text is for people only.
//
// The package starts no goroutine and has no lock in memory. The wait for another process to end
// stops at a signal or with a context.
package statelock
