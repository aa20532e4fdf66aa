package discoro

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/files"
	"github.com/discoro/discoro/wire"
)

// settleFiles checks that the files of a computation can be sent, and returns them by absolute paths: they are sent later.
func settleFiles(paths []string) ([]string, error) {
	taken := map[string]string{}
	var settled []string
	for _, file := range paths {
		name := filepath.Base(file)
		if err := files.CheckNames("", name); err != nil {
			return nil, err
		}
		folded := strings.ToLower(name) // which is one name to some file systems
		if other, ok := taken[folded]; ok {
			return nil, fmt.Errorf("%s and %s would have the same name at the servers: %w", other, file, ErrExists)
		}
		taken[folded] = file
		op := &fileOp{path: file, head: wire.FileHead{Op: wire.FileSend}}
		err := op.prepare()
		op.closeFile()
		if err != nil {
			return nil, fmt.Errorf("%s cannot be sent: %w", file, err)
		}
		if file, err = filepath.Abs(file); err != nil {
			return nil, err
		}
		settled = append(settled, file)
	}
	return settled, nil
}

// sendFilesOf sends the files of a computation of this client to a server of it, which has asked for them.
func (l *link) sendFilesOf(h *wire.FileHead) error {
	rt := l.rt
	var p *Computation
	rt.mu.Lock()
	for token, comp := range rt.comps {
		if token.Proves(h, rt.id) {
			p = comp
		}
	}
	rt.mu.Unlock()
	if p == nil {
		return fmt.Errorf("the client has no such computation any more: %w", ErrNotFound)
	}
	for _, file := range p.cfg.Files {
		op := &fileOp{rt: rt, path: file, why: waitSendFile, token: p.token, head: wire.FileHead{Op: wire.FileSend, Name: filepath.Base(file), Overwrite: true}}
		if err := op.doNow(l); err != nil {
			return fmt.Errorf("the computation's file %s was not sent: %w", file, err)
		}
	}
	return nil
}

// fetchFiles asks the client, at the other end of l, for a computation's files, and returns when they are all here.
func (l *link) fetchFiles(token wire.Token) error {
	return (&fileOp{rt: l.rt, why: waitSendFile, token: token, head: wire.FileHead{Op: wire.FileFetch}}).doNow(l)
}

// doNow does the operation over a link that is up, in a goroutine of the runtime.
func (op *fileOp) doNow(l *link) error {
	if err := op.prepare(); err != nil {
		op.closeFile()
		return err
	}
	k := call.New(op.why, nil)
	op.doAt(op.rt.ctx, l, k)
	out, err := op.rt.wait(context.Background(), k) // it is finished
	if err != nil {
		return err
	}
	return out.Err
}
