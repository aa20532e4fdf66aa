//go:build !unix

package testkit

import "syscall"

// SigStop and SigCont are never sent here: Signal skips the test.
const (
	SigStop = syscall.Signal(-1)
	SigCont = syscall.Signal(-2)
)
