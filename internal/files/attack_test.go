package files

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/wire"
)

// TestTwoFilesOfOneName receives two files of one name at the same time: without Overwrite the first that
// is complete stays, and with it the last.
func TestTwoFilesOfOneName(t *testing.T) {
	t.Parallel()
	for _, overwrite := range []bool{false, true} {
		dest := t.TempDir()
		f := folderAt(t, dest)
		start := func() (*peer, *wire.FileHead) {
			h := sendHead("in", "file", 5)
			h.Overwrite = overwrite
			p := ask(t, f, h)
			if a := p.answer(); !a.Go {
				t.Fatalf("%+v", a)
			}
			return p, h
		}
		p, ph := start()
		q, qh := start()
		q.write(blocks(qh, "first"))
		if a := q.answer(); a.Err != nil {
			t.Errorf("the first: %+v", a.Err)
		}
		p.write(blocks(ph, "other"))
		a, want := p.answer(), "first"
		if overwrite {
			want = "other"
		}
		if overwrite && a.Err != nil || !overwrite && !says(a.Err, fault.Exists) {
			t.Errorf("the other: %+v", a.Err)
		}
		<-p.answered
		<-q.answered
		wantFiles(t, dest, "in/", "in/file")
		wantContent(t, filepath.Join(dest, "in", "file"), want)
	}
}

// TestReceiveEnds ends transfers in the middle, in every way that a receiver meets: nothing is left of the
// file, and of the folders that were made for it.
func TestReceiveEnds(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		end  func(p *peer, f *Folder, closeRuntime func())
		want error
		says string
	}{
		"the link": {func(p *peer, _ *Folder, _ func()) { p.Close() }, nil, ""},
		"the computation": {
			func(_ *peer, f *Folder, _ func()) { f.Close() }, fault.Closed, "the computation is closing",
		},
		"the runtime": {
			func(_ *peer, _ *Folder, closeRuntime func()) { closeRuntime() }, fault.Closed, "the runtime is closing",
		},
		"a damaged block": {func(p *peer, _ *Folder, _ func()) {
			p.write(make([]byte, wire.FileBlock-100+wire.FileSum))
		}, nil, "damaged"},
	} {
		dest := t.TempDir()
		kept := put(t, dest, "in/kept", "kept")
		life, end := context.WithCancelCause(t.Context())
		f := New(life, Config{ID: wire.NewID(), Path: func() string { return dest }, Encode: encode, Log: discard})
		p := ask(t, f, sendHead("in/some/where", "file", 3*wire.FileBlock))
		if a := p.answer(); !a.Go {
			t.Fatalf("%s: %+v", name, a)
		}
		p.write(make([]byte, 100))
		tt.end(p, f, func() { end(fmt.Errorf("the runtime is closing: %w", fault.Closed)) })
		if tt.says != "" {
			a := p.answer()
			if a.Err == nil || tt.want != nil && !says(a.Err, tt.want) {
				t.Errorf("%s: %+v", name, a.Err)
			}
		}
		f.AwaitIdle()
		if err := <-p.answered; err != nil {
			t.Errorf("%s: %v", name, err)
		}
		wantFiles(t, dest, "in/", "in/kept")
		wantContent(t, kept, "kept")
		end(nil)
	}
}

// TestReceiveLimits sends what is larger than the runtime takes, and more bytes than were announced.
func TestReceiveLimits(t *testing.T) {
	t.Parallel()
	dest := t.TempDir()
	f := folderAt(t, dest)
	p := ask(t, f, sendHead("in", "large", 1<<20+1))
	if a := p.answer(); a.Go || !says(a.Err, fault.TooLarge) {
		t.Errorf("a file that is too large: %+v", a)
	}
	<-p.answered
	wantFiles(t, dest)
	h := sendHead("", "file", 5)
	p = ask(t, f, h)
	if a := p.answer(); !a.Go {
		t.Fatalf("%+v", a)
	}
	p.write(blocks(h, "exact"))
	if a := p.answer(); a.Err != nil { // nobody reads more
		t.Errorf("%+v", a.Err)
	}
	<-p.answered
	wantContent(t, filepath.Join(dest, "file"), "exact")
}

// TestReceiveThroughLinks has symbolic links in the folder that lead out of it, and one that leads
// elsewhere in it.
func TestReceiveThroughLinks(t *testing.T) {
	t.Parallel()
	dest, outside := t.TempDir(), t.TempDir()
	mine := put(t, outside, "file", "mine")
	put(t, dest, "real/file", "real")
	for link, target := range map[string]string{
		"out": outside, "up": "..", "file": mine, "new": filepath.Join(outside, "new"), "in": "real",
	} {
		if err := os.Symlink(target, filepath.Join(dest, link)); err != nil {
			t.Skip("no symbolic links here: ", err)
		}
	}
	f := folderAt(t, dest)
	for _, h := range []*wire.FileHead{
		sendHead("out", "file", 1), sendHead("out", "other", 1), sendHead("out/deeper", "file", 1), sendHead("up", "file", 1),
		sendHead("", "file", 1), sendHead("", "new", 1), sendHead("file", "x", 1), sendHead("in", "file", 1),
	} {
		for _, op := range []wire.FileOp{wire.FileSend, wire.FileDelete} {
			if h.Op = op; op == wire.FileDelete && h.Dir == "in" {
				continue
			}
			h.Overwrite = h.Dir != "in"
			p := ask(t, f, h)
			if a := p.answer(); a.Go || a.Err == nil {
				t.Errorf("operation %d on %q in %q is done", op, h.Name, h.Dir)
			}
			<-p.answered
		}
	}
	wantFiles(t, outside, "file")
	wantContent(t, mine, "mine")
	p := ask(t, f, &wire.FileHead{Op: wire.FileDelete, Dir: "in", Name: "file"})
	if a := p.answer(); a.Err != nil {
		t.Errorf("a link that stays in the folder: %+v", a.Err)
	}
	<-p.answered
	wantFiles(t, dest, "file", "in", "new", "out", "real/", "up")
}

// TestServe opens a folder to those who know the token, notifies the scheduler while files come, and
// closes it again.
func TestServe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dest, id := t.TempDir(), wire.NewID()
		f := New(t.Context(), Config{ID: id, Encode: encode, Log: discard})
		token, stirs := wire.Token(wire.NewID()), 0
		try := func(token wire.Token, name string) *wire.FileAnswer {
			h := sendHead("", name, 1)
			h.Proof = token.Prove(id, h.Key)
			p := ask(t, f, h)
			a := p.answer()
			if a.Go {
				p.write(blocks(h, "x"))
				a = p.answer()
			}
			<-p.answered
			return a
		}
		if a := try(token, "early"); !says(a.Err, fault.Rejected) {
			t.Errorf("before: %+v", a.Err)
		}
		f.Serve(token, dest, func() { stirs++ })
		if f.Token() != token {
			t.Error("it has another token")
		}
		for i, want := range []int{1, 1, 2} { // calls of stir, one a second
			if a := try(token, fmt.Sprint(i)); a.Err != nil {
				t.Errorf("%d: %+v", i, a.Err)
			}
			if stirs != want {
				t.Errorf("after file %d: stir was called %d times, want %d", i, stirs, want)
			}
			if i == 1 {
				<-time.After(stirPause)
			}
		}
		for _, other := range []wire.Token{{}, wire.Token(wire.NewID())} {
			if a := try(other, "stranger"); !says(a.Err, fault.Rejected) {
				t.Errorf("a stranger: %+v", a.Err)
			}
		}
		f.Close()
		f.AwaitIdle()
		if a := try(token, "late"); !says(a.Err, fault.Rejected) || f.Token() != (wire.Token{}) {
			t.Errorf("after: %+v", a.Err)
		}
		wantFiles(t, dest, "0", "1", "2")
	})
}

// TestAnswerBreaches sends what is no head: Answer says that the peer breaks the protocol. The end of the
// stream is no breach.
func TestAnswerBreaches(t *testing.T) {
	t.Parallel()
	f := folderAt(t, t.TempDir())
	for text, breach := range map[string]bool{
		"": false, "\x00": false, "\x00\x00": true, "\xff\xff": true, "\x00\x01\xf6....": true,
	} {
		near := &testPeer{far: func(s *farStream) {
			err := f.Answer(s, nil)
			if (err != nil) != breach {
				t.Errorf("%q: %v", text, err)
			}
		}}
		s, err := near.OpenStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = s.Write([]byte(text)) // not all of it is read
		s.End()
	}
}
