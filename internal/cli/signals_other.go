//go:build !unix

package cli

// ignoreBackground does nothing: on this system no terminal stops processes.
func ignoreBackground() {}
