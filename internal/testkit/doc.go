// Package testkit has what tests of several packages share: waits, logs, proxies, processes. It knows
// nothing of package discoro, so that discoro's own tests can use it. Package live, below it, has what
// uses discoro.
//
// Goroutines that a helper starts end with the test: those of a Proxy serve its connections, and one
// waits for each Process. Log.mu and Proxy.mu are leaves. The package has no state of its own.
package testkit
