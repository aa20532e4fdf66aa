package files

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/wire"
)

// Op is one operation on a file, at the side that asks for it: Send, Delete and Fetch make one. Then
// its methods are called in the order in which they stand here, each once, by one goroutine. At does
// the operation at another runtime, and Folder.Do in the runtime's own folder.
type Op struct {
	// Progress is called with how many bytes have been sent, by the goroutine that sends the file.
	// An error ends the transfer with that error. Nil: nothing is called.
	Progress func(sent, total int64) error

	head wire.FileHead // completed by Open and Prove
	path string        // immutable: the file that is sent
	file *os.File      // opened by Open, closed by Close
}

// Send returns the operation that sends the file at path, under its last name, to a folder below the
// other side's. The error is what is wrong with the names.
func Send(path, dir string, overwrite bool) (*Op, error) {
	name := filepath.Base(path)
	op := &Op{path: path, head: wire.FileHead{Op: wire.FileSend, Dir: dir, Name: name, Overwrite: overwrite}}
	return op, CheckNames(dir, name)
}

// Delete returns the operation that deletes a file; name is a slash-separated path.
func Delete(name string) (*Op, error) {
	op := &Op{head: wire.FileHead{Op: wire.FileDelete}}
	op.head.Dir, op.head.Name = SplitPath(name)
	return op, CheckNames(op.head.Dir, op.head.Name)
}

// Fetch returns the operation that asks the client of a computation to send its files.
func Fetch() *Op { return &Op{head: wire.FileHead{Op: wire.FileFetch}} }

// Open opens the file that is sent, and checks that it can be sent. It may block where the file
// system does.
func (op *Op) Open() (err error) {
	op.head.Key = wire.NewID()
	if op.head.Op != wire.FileSend {
		return nil
	}
	var mode fs.FileMode
	op.file, op.head.Size, mode, err = openSource(op.path)
	op.head.Mode = uint32(mode)
	return err
}

// Prove gives the operation a proof that it belongs to the computation with that token. The proof
// holds for the runtime with the ID to only. With the zero token the operation belongs to no
// computation.
func (op *Op) Prove(token wire.Token, to wire.ID) { op.head.Proof = token.Prove(to, op.head.Key) }

// Close closes the file that is sent.
func (op *Op) Close() {
	if op.file != nil {
		_ = op.file.Close() // it was only read
		op.file = nil
	}
}

// ErrExited is the error of a Send when its Progress calls runtime.Goexit.
var ErrExited = fmt.Errorf("FileOptions.Progress: %w", fault.Goexit)

// progress calls Progress.
func (op *Op) progress(sent int64) error {
	if op.Progress == nil {
		return nil
	}
	return op.Progress(sent, op.head.Size)
}

// Peer is the runtime at the other end of a link.
type Peer interface {
	// OpenStream opens a stream for one operation. Until Halt, the end of ctx ends reads and writes.
	// OpenStream waits, until ctx ends at most, while the peer takes no more streams.
	OpenStream(ctx context.Context) (Stream, error)
	// Start starts a goroutine that the runtime waits for when it closes. False: it is closing.
	Start(f func()) bool
	// Decode returns the error that the peer has encoded; nil: there is none.
	Decode(*wire.Failure) error
}

// Stream is a stream of this side to a peer. One goroutine reads it, and one writes it. Close, at any
// time and more than once, ends what this side sends.
type Stream interface {
	io.ReadWriteCloser
	// Share counts the stream among those that send files, which share the link, until done is called.
	Share() (done func())
	// Halt ends writes at once, for good.
	Halt()
	// End closes the stream, after Halt, and waits until the other side has closed it, too, or the link
	// has ended. Then nothing of the stream is left, and another one may be opened in its place.
	End()
	// Lost returns why the stream ended, given the error of a read or write: the link's end, or that of
	// ctx. Otherwise the peer has broken the protocol, and Lost ends the link.
	Lost(ctx context.Context, err error) error
}

// At does the operation at a peer. done receives the result as soon as it is known, once, before At
// returns. At returns when nothing of the operation's stream is left, which the peer can delay until
// the end of the link.
func (op *Op) At(ctx context.Context, peer Peer, done func(error)) {
	s, err := peer.OpenStream(ctx)
	if err != nil {
		done(err)
		return
	}
	x := &exchange{op: op, peer: peer, s: s, failed: make(chan error, 1), sent: make(chan struct{})}
	err = x.run(ctx)
	s.Halt() // ctx may end when the result is known
	done(err)
	if x.sending {
		<-x.sent
	}
	s.End()
}

// exchange is an operation over its stream. One goroutine reads the answers; where a file is sent,
// another one writes it.
type exchange struct {
	op      *Op           // immutable
	peer    Peer          // immutable
	s       Stream        // immutable
	sending bool          // a goroutine sends; owned by run and its caller
	failed  chan error    // capacity 1: why this side could not send
	sent    chan struct{} // closed when the goroutine that sends has ended
}

// run does the operation, until the other side has answered, or ctx or the link ends.
func (x *exchange) run(ctx context.Context) error {
	head, err := wire.AppendFileHead(nil, &x.op.head)
	if err != nil {
		return err
	}
	if _, err := x.s.Write(head); err != nil {
		return x.s.Lost(ctx, err)
	}
	a, err := wire.ReadFileAnswer(x.s)
	if err != nil {
		return x.s.Lost(ctx, err)
	}
	if !a.Go {
		return x.peer.Decode(a.Err)
	}
	x.sending = x.peer.Start(func() { x.send(ctx) })
	if !x.sending {
		return fault.New("the runtime is closed", fault.Closed)
	}
	if a, err = wire.ReadFileAnswer(x.s); err != nil {
		err = x.s.Lost(ctx, err)
	} else if err = x.peer.Decode(a.Err); err == nil {
		select { // the other side has the whole file, so send is about to end
		case <-x.sent:
		case <-ctx.Done():
		}
	}
	select {
	case err := <-x.failed: // the other side only knows that the file ended early
		return err
	default:
		return err
	}
}

// send sends the file, until ctx ends.
func (x *exchange) send(ctx context.Context) {
	defer close(x.sent)
	defer x.s.Share()()
	err := ErrExited // if sendBlocks does not return
	defer func() {
		if err != nil {
			x.failed <- err
			_ = x.s.Close() // the other side sees that bytes are missing
		}
	}()
	err = x.sendBlocks(ctx)
}

// sendBlocks sends the blocks of the file; an error is one of this side. A block is written while the
// processor still has it in its cache: reading ahead in another goroutine cost more than it gained.
func (x *exchange) sendBlocks(ctx context.Context) error {
	if x.op.head.Size == 0 {
		return x.op.progress(0)
	}
	buf := buffers.Get().(*buffer)
	defer buffers.Put(buf)
	sums := wire.NewFileSums(x.op.head.Key).Skip()
	for at, size := int64(0), x.op.head.Size; at < size; {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		block, whole := buf.block(size - at)
		if err := x.op.read(block, at); err != nil {
			return err
		}
		sums.Append(block, block)
		if _, err := x.s.Write(whole); err != nil {
			return nil // run learns why from the other side, or from the link
		}
		at += int64(len(block))
		if err := x.op.progress(at); err != nil {
			return err
		}
	}
	return nil
}

// Do does the operation in the runtime's own folder.
func (f *Folder) Do(ctx context.Context, op *Op) error {
	u, err := f.open(&op.head)
	if err != nil {
		return err
	}
	defer u.end()
	if op.head.Op == wire.FileDelete {
		return u.remove(op.head.Dir, op.head.Name)
	}
	if err := f.checkSize(op.head.Size); err != nil {
		return err
	}
	l, err := u.land(&op.head)
	if err != nil {
		return err
	}
	defer l.abandon()
	buf := buffers.Get().(*buffer)
	defer buffers.Put(buf)
	for at := int64(0); ; {
		if err := cmp.Or(u.over(), context.Cause(ctx)); err != nil {
			return err
		}
		block, _ := buf.block(op.head.Size - at)
		err := op.read(block, at)
		if err == nil {
			err = l.write(block)
		}
		at += int64(len(block))
		if err == nil {
			err = op.progress(at)
		}
		if err != nil {
			return err
		}
		if at == op.head.Size {
			return l.commit()
		}
	}
}
