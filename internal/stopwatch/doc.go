// Package stopwatch bounds real time in tests, in a way that holds on a busy machine.
//
// Each Stopwatch has one goroutine, which owns its counts until it ends; the end of the test ends
// it. There are no locks.
package stopwatch
