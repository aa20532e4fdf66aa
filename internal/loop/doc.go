// Package loop holds the queues of event loops: an [Inbox] for a loop with a goroutine of its own,
// an [Actor] for a loop without one. And it holds the [Group], which waits for goroutines.
//
// Both promise that Put never waits for the loop, so that loops can send events to each other
// without a deadlock, and that events from one goroutine are handled in the order in which they
// were put. The package starts no goroutine itself. Each queue has one lock, which is held for a few lines
// and never while an event is handled.
package loop
