package discoro

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/transport"
	"github.com/discoro/discoro/wire"
)

// linkFiles are the operations on files that this side of a link has asked for.
type linkFiles struct {
	turns   chan struct{} // immutable: holds one for each stream that is open, at most transport.MaxStreams; who waits is served in order
	sending atomic.Int32  // files whose bytes are on their way
}

func newLinkFiles() linkFiles { return linkFiles{turns: make(chan struct{}, transport.MaxStreams)} }

// What files leave of a link to everything else: what is written for files before others' turn comes, together, and at least by each.
const (
	filePiece    = 64 << 10
	minFilePiece = 4 << 10
	frameShare   = 3                    // as many files as frames that wait count for
	pieceTime    = 4 * time.Millisecond // what is written at once gets larger while it takes less
)

// longAgo as a deadline ends reads and writes at once.
var longAgo = time.Unix(1, 0)

// fileOp does an operation over a stream of its own; k gets how it went. It returns when nothing of the stream is left, which the
// other side may delay until the link's end.
func (l *link) fileOp(ctx context.Context, op *fileOp, k *call.Call) {
	if err := l.fileTurn(ctx); err != nil {
		k.Finish(call.Outcome{Err: err})
		return
	}
	defer func() { <-l.files.turns }()
	s, err := l.t.Open()
	if err != nil {
		l.broken(err)
		k.Finish(call.Outcome{Err: l.cause()})
		return
	}
	x := &fileExchange{l: l, op: op, s: s, failed: make(chan error, 1), sent: make(chan struct{}), piece: filePiece}
	stop := transport.DeadlineOn(ctx, s)
	err = x.run(ctx)
	stop()
	k.Finish(call.Outcome{Err: err})
	x.end()
}

// fileTurn waits until fewer than transport.MaxStreams streams are open.
func (l *link) fileTurn(ctx context.Context) error {
	select {
	case l.files.turns <- struct{}{}:
		return nil
	case <-l.ended:
		return l.cause()
	case <-ctx.Done():
		return l.rt.errOver(ctx)
	}
}

// errOver is the error of what ended because ctx, which ends with the runtime, has.
func (rt *Runtime) errOver(ctx context.Context) error {
	if rt.ctx.Err() != nil {
		return fmt.Errorf("the runtime is closing: %w", ErrClosed)
	}
	return context.Cause(ctx)
}

// fileExchange is an operation over its stream. One goroutine reads the answers; where a file is sent, another writes it.
type fileExchange struct {
	l       *link         // immutable
	op      *fileOp       // immutable
	s       net.Conn      // immutable
	sending bool          // a goroutine sends; owned by run and end
	over    atomic.Bool   // there is nothing more to send
	failed  chan error    // capacity 1: why this side could not send
	sent    chan struct{} // closed when sending has ended
	piece   int           // how much is written at once when nothing else is to be; owned by send
}

// run does the operation, until the other side has said how it went, ctx ends, or the link.
func (x *fileExchange) run(ctx context.Context) error {
	head, err := wire.AppendFileHead(nil, &x.op.head)
	if err != nil {
		return err
	}
	if _, err := x.s.Write(head); err != nil {
		return x.lost(ctx, err)
	}
	a, err := wire.ReadFileAnswer(x.s)
	if err != nil {
		return x.lost(ctx, err)
	}
	if !a.Go {
		return values.Error(a.Err)
	}
	x.sending = x.l.rt.start(x.send)
	if !x.sending {
		return errRuntimeClosed
	}
	if a, err = wire.ReadFileAnswer(x.s); err != nil {
		err = x.lost(ctx, err)
	} else if err = values.Error(a.Err); err == nil {
		select { // it has all that there was to send
		case <-x.sent:
		case <-x.l.ended:
		case <-ctx.Done():
		}
	}
	select {
	case err := <-x.failed: // the other side only knows that not all came
		return err
	default:
		return err
	}
}

// lost is how the operation ended when the stream did so with err.
func (x *fileExchange) lost(ctx context.Context, err error) error {
	if cause := x.l.cause(); cause != nil {
		return cause
	}
	if ctx.Err() != nil {
		return x.l.rt.errOver(ctx)
	}
	x.l.broken(err) // a peer answers, whatever happens
	return x.l.cause()
}

// send sends the file.
func (x *fileExchange) send() {
	defer close(x.sent)
	x.l.files.sending.Add(1)
	defer x.l.files.sending.Add(-1)
	err := errProgressExit // where sendBlocks does not return
	defer func() {
		if err != nil {
			x.failed <- err
			_ = x.s.Close() // the other side sees that it has not all
		}
	}()
	err = x.sendBlocks()
}

// sendBlocks sends the file; an error is one of this side. A block is written while the processor still has it at hand: reading ahead
// in another goroutine cost more than it gave.
func (x *fileExchange) sendBlocks() error {
	buf := fileBuffers.Get().(*fileBuffer)
	defer fileBuffers.Put(buf)
	sums := wire.NewFileSums(x.op.head.Key).Skip()
	if x.op.head.Size == 0 {
		return x.op.progress(0)
	}
	for at, size := int64(0), x.op.head.Size; at < size; {
		block, whole := buf.block(size - at)
		if err := x.op.next(block, at); err != nil {
			return err
		}
		sums.Append(block, block)
		if !x.write(whole) {
			return nil // why not, the other side says, or the link
		}
		at += int64(len(block))
		if err := x.op.progress(at); err != nil {
			return err
		}
	}
	return nil
}

// write writes a block with its sum; it reports false when no more is to be sent. What is written at once gets smaller with the
// number of files on their way, and where frames wait, so that these wait behind filePiece at most.
func (x *fileExchange) write(b []byte) bool {
	for len(b) > 0 {
		if x.over.Load() {
			return false
		}
		share := int(x.l.files.sending.Load())
		if x.l.hasFrames() {
			share += frameShare
		}
		n := x.piece
		if share > 1 {
			n = max(filePiece/share, minFilePiece)
		}
		n = min(n, len(b))
		start := time.Now()
		if _, err := x.s.Write(b[:n]); err != nil {
			return false
		}
		b = b[n:]
		switch took := time.Since(start); {
		case took > pieceTime:
			x.piece = filePiece
		case n == x.piece:
			x.piece = min(2*n, len(fileBuffer{}))
		}
	}
	return true
}

// hasFrames reports whether frames wait for the writer.
func (l *link) hasFrames() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.queue.size() > 0
}

// end leaves nothing of the stream. The other side drops what it is still sent.
func (x *fileExchange) end() {
	x.over.Store(true)
	if x.sending {
		_ = x.s.SetWriteDeadline(longAgo)
		<-x.sent
	}
	_ = x.s.Close()
	_, _ = io.Copy(io.Discard, x.s) // until the other side has closed it, too, or the link has ended
}
