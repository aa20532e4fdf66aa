// Package lan holds the sockets by which runtimes of one local network find each other: sockets
// that [Hear] questions, and an [Asker], which sends questions and receives the answers.
//
// Questions go out by broadcast and multicast over IPv4 and IPv6. Where broadcasts reach a whole
// host, every runtime of it hears them, as the sockets share the port. But a datagram to one
// address reaches only one of the sockets that share a port. Therefore each Asker has sockets of
// its own, which receive the answers. On loopback nothing leaves the machine: Linux has a broadcast
// address there, and other systems have multicast.
//
// The package knows nothing of what the datagrams say. It has no goroutine, no lock and no state:
// the caller that opens a socket reads and closes it.
package lan
