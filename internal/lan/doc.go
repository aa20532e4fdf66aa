// Package lan holds the sockets by which runtimes of one local network find each other: sockets
// that [Hear] questions, and an [Asker], which sends questions and receives the answers.
//
// Questions go out by broadcast and multicast over IPv4 and IPv6. Where broadcasts reach a whole
// host, every runtime of it hears them, as the sockets share the port. Of what is sent to one
// address of a shared port, only one socket would receive anything: therefore each Asker has
// sockets of its own, which the answers come to. On loopback nothing leaves the machine: Linux has
// a broadcast address there, and other systems have multicast.
//
// The package knows nothing of what the datagrams say. It has no goroutine, no lock and no state:
// who opens a socket reads and closes it.
package lan
