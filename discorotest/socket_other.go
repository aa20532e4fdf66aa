//go:build !unix

package discorotest

// socketName returns nothing: only unix systems tell.
func socketName(string) string { return "" }
