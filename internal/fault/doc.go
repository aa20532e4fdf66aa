// Package fault holds the errors that every part of discoro returns, and the way their texts are
// made. It is the ground floor: it imports nothing of this module, so any package may use it.
//
// The sentinels are the public ones: package discoro documents them under its own names
// (discoro.ErrClosed is [Closed]). An error's text begins with [Prefix] at most once, names the
// thing, the place and the way out, and [Because] keeps it so on the way up.
//
// The package has no goroutine, no lock and no state.
package fault
