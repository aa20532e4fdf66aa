// Package files receives and keeps files: which names a file of another runtime may have, and what is
// removed of files that never became complete.
//
// The package starts no goroutine and has no lock.
package files
