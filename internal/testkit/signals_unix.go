//go:build unix

package testkit

import "syscall"

// SigStop makes a process stand still until it receives SigCont.
const (
	SigStop = syscall.SIGSTOP
	SigCont = syscall.SIGCONT
)
