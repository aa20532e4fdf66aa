// Package transport turns an authenticated connection to a peer into streams: one long-lived stream
// for frames, and one more for each file on its way. It is yamux, with two changes.
//
//   - yamux is watched. It answers each ping in a goroutine of its own and accepts any number of
//     streams, so the connection below it follows the headers that come in and ends the connection
//     at the first breach.
//   - Files bypass yamux. It would copy each piece twice and hand it to other goroutines. The bytes
//     of files are read from the connection directly into the memory that the receiver has posted,
//     and are written by the goroutine that has read them from the file. The bytes on the
//     connection follow yamux's protocol all the same.
//
// A connection in memory brings streams of its own, see [Memory]: yamux keeps timers in a pool of
// the whole process, and a timer that was made in one bubble of testing/synctest ends the program
// in the next bubble.
//
// # The end of a stream
//
// A stream counts among the [MaxStreams] of its opener until both sides have closed it. The opener
// closes its side first. The other side reads up to that end, calls [Conn.Release], which makes
// room for another stream, and only then closes its own side. The opener opens the next stream when
// it sees that. So an honest peer never has one stream too many, and a peer that does not close its
// streams only blocks itself.
//
// # Goroutines and locks
//
// The package starts no goroutine. yamux starts two for each connection: its reader calls
// watchedConn.Read and owns the scan, and its writer calls watchedConn.Write. The other goroutines
// are the callers': one reads Conn.Frames, one calls Conn.Write, one calls Conn.Accept, and one
// reads or writes each stream.
//
// The locks are peerStreams.mu and inStream.mu (streams that the peer has opened), ownStreams.mu
// and outStream.mu (streams of this side). All are leaves, except that an outStream.mu may be taken
// while ownStreams.mu is held. A goroutine that writes to the connection holds watchedConn.lock,
// which is a channel, so that writers get it in the order in which they ask.
//
// # Promises
//
// Close never waits for the peer, and every Read, Write, Open and Accept returns after it. What a
// peer sends is bounded: a window of unread bytes on each of at most [MaxStreams] streams.
package transport
