// Package statelock keeps a user from running two nodes of one name on a machine. A node that runs
// has locked a file, which the system unlocks when the node's process ends, however that happens.
//
// The system, and not the file, says which process has the lock: [Acquire] with Phoenix ends that
// process, and must not end another process that has got the same number since. The file's text is
// for people only.
//
// The package starts no goroutine and has no lock in memory. The wait for another process to end
// stops at a signal or with a context.
package statelock
