//go:build !unix

package discoro

// ignoreBackground does nothing: no terminal stops processes here.
func ignoreBackground() {}
