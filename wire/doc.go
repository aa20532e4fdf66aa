// Package wire is what discoro says on a link, byte by byte: the greeting that opens a connection, and the
// frames that follow. It opens no sockets, writes no logs and knows nothing of roles; PROTOCOL.md is its specification.
//
// # Greeting
//
// [Dial] and [Accept] greet on a fresh connection, before anything else runs on it. Four messages, two round trips,
// after the TLS handshake where there is one:
//
//	dialer                         listener
//	  knock    proof, or nothing  ──▶
//	              ◀──  hello     proof, who the listener is
//	  hello    who the dialer is  ──▶
//	              ◀──  welcome
//
// Either side may say refuse in place of its next message, with a code and a sentence, and that is the last one.
// Every message starts with the same 8 bytes, and those and the whole of refuse never change, so that any two
// versions of the protocol can tell each other why they part.
//
// # What a stranger learns
//
// A [Protection] made with a secret puts TLS 1.3 below the greeting, with certificates that nobody checks, and a proof
// in each direction: a MAC, made with a key that is derived from the secret, of the side's role and of the TLS session's
// exporter. The exporter differs in any two sessions, so a proof is worth nothing elsewhere: not replayed, not sent back,
// not passed on by somebody who sits in the middle with a TLS session to either side. And because it names the session,
// what else is said in that session comes from the one who gave the proof.
//
// The dialer proves first. A listener sends its Hello together with its own proof, after it has checked the dialer's;
// a dialer sends its Hello after it has checked the listener's. So who has no secret sees, from either side, a protocol
// version, a throw-away certificate and 32 bytes that look random, and hears "unauthorized".
// With certificates, TLS itself proves both sides, before the first byte of the greeting.
//
// One thing a MAC cannot hide: a dialer's proof lets whoever took the listener's place guess secrets at leisure,
// 600,000 hashes a guess. A secret of 16 random characters is out of reach, a word is not.
//
// # Concurrency properties
//
// Everything exported is safe for concurrent use unless its comment says otherwise. A Reader belongs to one goroutine.
package wire
