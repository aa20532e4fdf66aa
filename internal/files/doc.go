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
// the place where it goes. Where nothing may be overwritten, the name is given by a hard link, because
// that fails where the name is taken: two files cannot get one name, as they could if each looked first
// and then renamed. A transfer that fails leaves nothing. Sweep removes what a killed process has left,
// an hour later.
//
// Everything that a peer asks for is done through os.Root, so no name and no symbolic link reaches
// beyond the folder. Names are checked as well, so that a name that is good on one system is good
// on all, and so that no peer reaches the folders that nodes make below their DestPath: their names
// are OwnPrefix and digits.
//
// The folder of a computation is open to peers that prove that they know the computation's token. A
// head has that proof and not the token itself (wire.Token.Prove): any peer can pose as a server,
// and with the token it could act for the computation.
//
// # Blocks and sums
//
// Each block of 512 KiB is followed by a CRC-32C, which finds damage at once. It begins with the
// file's own key and the number of the block, so no block can be missing, come twice or in another
// order. A CRC is computed at the speed of memory. A GMAC took a sixth of the whole time of a
// transfer, and a SHA-256 takes a dozen times as long as a CRC. No sum protects against an attacker
// who can change the bytes of a link without TLS, because the key travels on the same link.
//
// The end of a stream does not mean success, since streams also end when their connection breaks.
// So every operation has an answer, and an operation without one has failed.
//
// # Goroutines and locks
//
// One goroutine reads a file and writes it to its stream, a block at a time, while another one
// waits for the answer. Peer.Start starts the one that reads, and At waits for its end. It does not
// read ahead: with more buffers than fit into the processor's cache, each byte comes from memory
// once more, which costs more than the wait for the disk.
//
// The receiver posts three buffers. While it writes one to the disk, the reader of the connection fills
// the others. A buffer that was posted and is not full when the transfer ends is never used again, since
// the reader may be writing to it.
//
// Folder.mu is the only lock, and a leaf.
package files
