// Package files sends files to other runtimes, and receives theirs. One operation on a file takes one
// stream of a link: a head says what is wanted, the file follows in blocks with sums, and an answer says
// how it went.
//
//   - [Folder] is where a runtime's received files go. Its Answer does what a peer asks for.
//   - [Op] is an operation that this side asks for: [Send], [Delete] or [Fetch].
//   - [CheckNames] says which names a file may have, [Sweep] and [RemoveAll] clean up.
//
// The package knows neither links nor runtimes: it gets them as [Peer], [Stream] and [PeerStream].
//
// # Promises
//
// A file has its name when it is complete, and not before: it is received under a private name, next to
// the place where it goes. Where nothing may be overwritten, it gets the name by a link, which fails in
// one step where the name is taken; os.Root.Link has no race there as a look and a rename have. A
// transfer that fails leaves nothing. What a killed process leaves is removed by Sweep an hour later.
//
// Whatever a peer asks for goes through os.Root, so nothing reaches beyond the folder, whatever the
// names look like and whatever symbolic links are there. Names are checked as well: so that a name that
// is good on one system is good on all, and so that no peer reaches the folders that nodes make below
// their DestPath, whose names are OwnPrefix and digits.
//
// The folder of a computation is open to those who prove that they know the computation's token. A head
// proves that and does not contain the token (wire.Token.Prove): any peer can say that it is a server,
// and with the token it could act for the computation.
//
// # Blocks and sums
//
// Each block of 512 KiB is followed by a CRC-32C, which finds damage at once. It begins with the file's
// own key and counts blocks, so no block can be missing, come twice or in another order. It is made at
// the speed of memory: a GMAC was a sixth of all that a file cost, and a SHA-256 costs a dozen times as
// much as a CRC. No sum protects from somebody who can change what a link without encryption carries: the
// key travels on it, too. TLS does, with a secret.
//
// The end of a stream says nothing, since streams end with their connection in the same way. So every
// operation has an answer, and an operation without one has failed.
//
// # Goroutines and locks
//
// A file that is sent is read and written by one goroutine, a block at a time, while another one waits
// for the answer. Peer.Start starts it, and At waits for its end. More buffers than the processor's cache
// holds would have each byte come from memory once more, which costs more than the wait.
//
// The receiver posts three buffers. While it writes one to the disk, the reader of the connection fills
// the others. A buffer that was posted and is not full when the transfer ends is never used again, since
// the reader may be writing to it.
//
// Folder.mu is the only lock, and a leaf.
package files
