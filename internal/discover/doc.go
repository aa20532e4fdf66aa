// Package discover finds runtimes on the local network. A [Discovery] asks questions, by broadcast and
// multicast, and answers those of others. It does not connect to anybody.
//
// A question is for all runtimes, or for those where a name is registered. Only runtimes with the same
// port and the same kind of protection answer, and with a secret only those that have it.
//
// # Promises
//
//   - A question comes by broadcast, multicast and both versions of IP, and an attacker may repeat
//     it. It is answered once, because each question has a random number.
//   - A runtime sends at most 100 answers in a second, and at most 20 of them to one address. It answers
//     questions that are at most a minute old or too new.
//   - A runtime is found at the address that its answer came from, whatever the answer says.
//     Otherwise one datagram could make a whole network dial any address.
//   - A runtime that listens on loopback asks this machine, and answers this machine, only.
//
// # Goroutines and locks
//
// Config.Start starts all goroutines. Discovery.answerAll owns a socket for questions, and ends when
// [Discovery.Close] closes it. Each [Discovery.Search] has its own sockets, with a goroutine for each
// that reads answers until Search closes it, and a goroutine for each visit, for which Search waits.
// questions.mu is the only lock, and a leaf.
package discover
