//go:build !unix

package files

// openNonblock is 0: this system has no named pipes.
const openNonblock = 0
