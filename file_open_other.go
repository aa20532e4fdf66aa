//go:build !unix

package discoro

// openNonblock is for pipes that have a name as files have, which are not here.
const openNonblock = 0
