// Package testkit has what tests of several packages share. It knows nothing of package discoro, so
// that discoro's own tests can use it.
//
// The package has no state and no lock. A goroutine that a helper starts ends before the test does.
package testkit
