// Package schedule makes a scheduler's decisions: which computation is active, which nodes and
// servers it uses, which server a run goes to, and when something has been idle for too long.
//
// The package is pure. It has no goroutine, no lock, no clock and no connection: the time comes with
// each event, and what is to be done goes out as effects. A [State] belongs to the one goroutine that
// calls it.
package schedule
