// Package link connects a runtime to other runtimes. A [Net] is all links of a runtime. A [Link] is
// what the runtime has to do with one other runtime: one connection, and the frames, calls and
// streams on it. The package knows the runtime only as its [Host], and of frames only how to keep
// their order.
//
// # The life of a link
//
// A link begins with the first frame for another runtime, or with a connection from there. Before
// it is up, it is a queue: [Net.To] returns at once and dials in the background, so a role's loop
// can send to any runtime without waiting. A link ends once. A later link to the same runtime is
// another Link.
//
//	state     meaning
//	dialing   no connection has a proven peer
//	greeting  one connection has the claim
//	up        frames travel
//	down      the link has ended
//
// A connection claims its link when the peer has proven itself, and can lose the claim until the
// link is up. When two runtimes dial each other at once, both keep the connection that the runtime
// with the smaller ID has dialled. No frame is needed to agree on that, because both compare the
// same IDs.
//
// A peer may have lost a link that this side still considers alive, and dial again. So each
// greeting has an epoch: the number of greetings that its sender has sent. One greeting with a
// later epoch than the link's may have been under way when the link came up. A second one, with a
// still later epoch, was sent after that: the peer has lost the link, which therefore ends here,
// too.
//
// A link ends by an error of its connection, a breach of the protocol, silence, a Bye, or a peer
// that does not read what it asks for. The host is notified first, then pending calls fail, and
// calls of the peer that wait here are dropped. No link to the same runtime comes up before the
// host has handled the end of the one before.
//
// # The queue and its lanes
//
// Frames are encoded into the link's queue. The writer takes all small ones and one piece of a
// large one (of at least 8 KiB), and writes them in few writes of about 72 KiB at most, so that a
// large frame does not hold up small ones.
//
// A large frame opens a lane. Frames with the same key wait behind it in the lane, because they
// must not overtake it; all others do overtake it. Lanes take turns. When its last large frame has
// left, a lane ends, and the small frames behind that go on with the others. A large body is not
// copied into the queue: its encoder does not change it after that.
//
// Frames of loops never wait for room in a queue, or loops would wait for each other. A peer that
// lets too much of that pile up loses the link. Messages and questions of users do wait, in the
// order in which they came: beyond 4 MiB of small frames, and beyond as much of large ones. The
// writer moves a message that waits into the queue by itself, so the sending coroutine need not get
// the turn for that.
//
// An idle link holds little, because a scheduler of a thousand nodes with eight servers each has
// 9,000 of them: it is read into 512 bytes, and its queue has 1 KiB, until more comes at once. All
// links share the large buffers.
//
// # Files
//
// Files share the connection with frames. While several are under way, or frames wait, which count
// as three files, all files together write 64 KiB at once, and each at least 4 KiB; so a frame
// waits behind one such piece of each file. A file that has the link to itself is written in pieces
// that grow up to a block of 512 KiB as long as one takes less than 4 ms: what costs most with a
// large file is to wake the goroutine that reads it.
//
// # Signs of life
//
// A peer is silent when nothing has come from it for five of its pulses. A silence must last for
// two looks before it ends the link: in a busy process the reader may be late. When a look itself
// is late, this process did not run, for hours on a suspended machine, and each peer gets as much
// more time.
//
// The interval of this side's signs of life changes with the computations that it serves. A change
// of the interval only sets a number. Each link remembers the interval that it has announced to its
// peer. The goroutine that looks at all links and sends the pulses announces a changed interval
// first. So a slower pulse is never taken for silence.
//
// # Goroutines and locks
//
// [Host].Start starts every goroutine, so that the runtime can wait for it, except those of
// Net.Bye, which waits for them itself.
//
//	goroutine                           owns                         ends when
//	Net.accept                          the listener                 it is closed
//	Net.greet, per accepted connection  the connection, until the    the peer is welcome or refused;
//	                                    link has it                  a time-out
//	Net.dialLink; in Net.At: per dial   likewise                     up; refused; MsgTimeout
//	Net.DialAll, per address            nothing                      Net.At has returned
//	Net.pulses                          the clock of signs of life   the runtime closes
//	Link.write                          the write half               the link ends
//	Link.read                           the read half; never waits   the link ends
//	Link.acceptStreams                  accepting files' streams     the link ends
//	Link.serveStream, per such stream,  the stream                   the peer has closed it; the
//	at most 16 at a time                                             link ends
//
// The reader decodes frames and hands each to its owner through Host.Frame, which must not block.
// It never decodes a user's value. It makes one interface call for each frame, and has no state
// between two frames: it could do other work there, such as running a coroutine that a frame has
// made ready. The link of a runtime to itself, Net.Self, calls Host.Frame in the goroutine that
// posts, and Frame may post again.
//
// All locks are leaves: Net.mu (the table of links, and whether the runtime closes: no link is made
// after [Net.Refuse]), Link.mu (a link's state, queue and calls), greetings.mu (connections that
// are not links yet), and heartbeat.mu (the intervals that are asked for).
package link
