// Package test has the tests that use discoro as programs do: through its public API only, with
// clusters, processes that are killed, and networks that are cut. It also has the benchmarks. Tests
// that look inside a package stand beside it.
//
// Nothing imports this package, and it has no state.
package test
