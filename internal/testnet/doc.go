// Package testnet has networks for tests, all in one process: hosts that can be cut off from each
// other, with connections in memory or on loopback.
//
// In memory the runtimes of a network reach each other and nobody else, without sockets, so that
// whole clusters run in the fake time of testing/synctest. A connection in memory has streams of
// its own, in place of yamux (see transport.Memory); the greeting, TLS and everything above are
// what they are elsewhere. On loopback runtimes have ordinary sockets. While two hosts are cut off
// from each other, the side that dialled a connection holds back its bytes.
//
// A host that is cut off loses nothing: what is sent waits until the host is healed, as TCP sends
// again what was lost. Break breaks connections, and both sides notice at once.
//
// # Goroutines and locks
//
// The package starts no goroutine. Every wait here is on a channel, because a goroutine that waits
// for a lock stops fake time. All locks are leaves, held for a few lines: Network.mu (hosts,
// listeners, connections), memWire.mu (one connection in memory with both ends and all streams),
// memListener.mu, memLimit.mu and cutConn.mu.
package testnet
