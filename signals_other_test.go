//go:build !unix

package discoro

import "syscall"

// SigStop and SigCont are sent to nobody here: Signal skips.
const (
	SigStop = syscall.Signal(-1)
	SigCont = syscall.Signal(-2)
)
