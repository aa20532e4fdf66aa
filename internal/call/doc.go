// Package call holds answers, and the goroutines and coroutines that wait for them.
//
// A [Call] is one wait for one answer. A [Future] is one answer that any number of callers wait
// for. Both are set once; later answers are dropped.
//
// The package starts no goroutine. Setting an answer never blocks: it wakes the waiters and
// returns. Every mutex here is a leaf, which is held for a few lines and never while a Waker, an
// Answerer or a function runs.
package call
