// Package ratelog keeps others from filling the log: a line that a peer or a stranger can cause any
// number of times is logged at most once in [Pause] for each key.
//
// The package starts no goroutine. A [Log] has one lock, which no log handler runs under.
package ratelog
