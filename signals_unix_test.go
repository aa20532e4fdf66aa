//go:build unix

package discoro

import "syscall"

// A process that is sent SigStop stands still until it is sent SigCont.
const (
	SigStop = syscall.SIGSTOP
	SigCont = syscall.SIGCONT
)
