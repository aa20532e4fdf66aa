//go:build !unix

package discorotest

// socketName returns nothing: only Unix systems know the addresses.
func socketName(string) string { return "" }
