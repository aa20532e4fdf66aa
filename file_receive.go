package discoro

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/transport"
	"github.com/discoro/discoro/wire"
)

// acceptFiles takes the streams that the peer opens. It ends with the link.
func (l *link) acceptFiles() {
	for {
		s, err := l.t.Accept()
		if err != nil || !l.rt.start(func() { l.serveFile(s) }) {
			return // the reader of frames sees why
		}
	}
}

// serveFile owns a stream that the peer has opened, and does what it asks for. It ends when the peer has closed it, or the
// link has ended.
func (l *link) serveFile(s transport.PeerStream) {
	defer func() {
		_, _ = io.Copy(io.Discard, s) // what was on its way when the answer went out
		l.t.Release()
		_ = s.Close() // it is the peer's turn to notice
	}()
	h, err := wire.ReadFileHead(s)
	if errors.Is(err, wire.ErrMalformed) {
		l.broken(err)
	}
	if err != nil {
		return
	}
	switch h.Op {
	case wire.FileSend:
		err = l.receiveFile(h, s)
	case wire.FileDelete:
		err = l.deleteFile(h)
	case wire.FileFetch:
		err = l.sendFilesOf(h)
	}
	if err != nil {
		err = fault.New(err.Error(), err)
	}
	l.answerFile(s, &wire.FileAnswer{Err: encodeError(err)})
}

// answerFile writes an answer. When it cannot be written the link has ended, or is about to.
func (l *link) answerFile(s io.Writer, a *wire.FileAnswer) {
	b, err := wire.AppendFileAnswer(nil, a)
	if err == nil {
		_, err = s.Write(b)
	}
	if err != nil {
		l.rt.log.Debug("no answer about a file", "err", err)
	}
}

// deleteFile deletes a file for the peer.
func (l *link) deleteFile(h *wire.FileHead) error {
	u, err := l.rt.openFolder(h)
	if err != nil {
		return err
	}
	defer u.end()
	return u.remove(h.Dir, h.Name)
}

// receiveFile takes a file from the peer. When it returns the file is there, or nothing of it is.
func (l *link) receiveFile(h *wire.FileHead, s transport.PeerStream) error {
	if err := l.rt.checkSize(h.Size); err != nil {
		return err
	}
	u, err := l.rt.openFolder(h)
	if err != nil {
		return err
	}
	defer u.end()
	to, err := u.land(h)
	if err != nil {
		return err
	}
	defer to.abandon()
	l.answerFile(s, &wire.FileAnswer{Go: true})
	if err := to.receive(u.ctx, s, h); err != nil {
		return cmp.Or(u.over(), err)
	}
	return to.commit()
}

// receiveBuffers is how many buffers a file comes in. While one is written the others are filled.
const receiveBuffers = 3

// receive writes what comes over the stream.
func (l *landing) receive(ctx context.Context, s transport.PeerStream, h *wire.FileHead) error {
	defer s.Drop()
	var posted []*fileBuffer
	asked := int64(0)
	post := func(buf *fileBuffer) {
		block, whole := buf.block(h.Size - asked)
		asked += int64(len(block))
		posted = append(posted, buf)
		s.Post(whole)
	}
	for len(posted) < receiveBuffers && asked < h.Size {
		post(fileBuffers.Get().(*fileBuffer))
	}
	sums := wire.NewFileSums(h.Key).Skip()
	for at := int64(0); at < h.Size; {
		buf := posted[0]
		posted = posted[1:]
		block, whole := buf.block(h.Size - at)
		if n, err := s.Came(ctx); err != nil {
			return fmt.Errorf("the transfer ended after %d of %d bytes: %w", at+int64(min(n, len(block))), h.Size, ErrDisconnected)
		}
		if !sums.Check(block, whole[len(block):]) {
			return fmt.Errorf("the bytes from %d on came damaged: send it again", at)
		}
		if err := l.write(block); err != nil {
			return err
		}
		at += int64(len(block))
		if asked < h.Size {
			post(buf)
		} else {
			fileBuffers.Put(buf)
		}
	}
	return nil
}
