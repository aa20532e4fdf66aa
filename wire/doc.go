// Package wire is the protocol of discoro: the greeting that opens a connection, the frames that follow
// it, and the encoding of the values in them. PROTOCOL.md is its specification, byte by byte.
//
// The package opens no sockets, writes no logs and does not know what the frames mean. It starts no
// goroutine except the one that derives the key of a [Protection].
//
//   - [Dial] and [Accept] greet on a fresh connection, and [Hello] is what each side learns of the
//     other. A [Refusal] is why there is no link.
//   - [AppendFrame] and [Reader] write and read frames: the types with a method Kind.
//   - A [Codec] encodes arguments, results and messages, and decodes them into the same types.
//   - A [Datagram] is a message of discovery, and a [FileHead] begins the stream of a file.
//
// # Greeting
//
// [Dial] and [Accept] greet on a fresh connection, before anything else is sent on it. There are four
// messages in two round trips, after the TLS handshake if there is one:
//
//	dialer                         listener
//	  knock    proof, or nothing  ──▶
//	              ◀──  hello     proof, who the listener is
//	  hello    who the dialer is  ──▶
//	              ◀──  welcome
//
// Either side may send a refusal in place of its next message, with a code and a sentence, and ends
// the connection. Every message starts with the same 8 bytes. These and the refusal never change,
// so that any two versions of the protocol can send each other the reason why they do not fit.
//
// # What a stranger learns
//
// A [Protection] made from a secret puts TLS 1.3 below the greeting, with certificates that nobody
// checks, and a proof in each direction. The proof is a MAC of the side's role and of the TLS session's
// exporter, made with a key that is derived from the secret. The exporter differs in any two sessions.
// So a proof is worth nothing elsewhere: it cannot be replayed, sent back, or passed on by somebody in
// the middle who has one TLS session with each side. And because the proof names the session, everything
// else in that session comes from the peer that gave the proof.
//
// The dialer proves first. The listener sends its Hello, with its own proof, after it has checked the
// dialer's proof; the dialer sends its Hello after it has checked the listener's. So a peer without the
// secret sees, from either side, a protocol version, a throw-away certificate, 32 bytes that look
// random, and the refusal "unauthorized". With certificates, TLS itself proves both sides, before the
// first byte of the greeting.
//
// A MAC does not protect against guesses: an attacker in the listener's place receives the dialer's
// proof, and can try secrets offline, at 600,000 hashes each. A secret of 16 random characters is
// out of reach; a word is not.
//
// # Concurrency properties
//
// Everything exported is safe for concurrent use unless its comment says otherwise. A [Reader] belongs
// to one goroutine.
package wire
