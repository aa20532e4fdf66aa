//go:build !unix

package files

// openNonblock is for pipes that have names as files have, which this system lacks.
const openNonblock = 0
