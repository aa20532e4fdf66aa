package files

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/discoro/discoro/internal/fault"
)

// openSource opens a file that is to be sent, and returns its size and mode.
func openSource(path string) (f *os.File, size int64, mode fs.FileMode, err error) {
	info, err := os.Stat(path) // first, because opening some devices has effects
	if err == nil && info.Mode().IsRegular() {
		if f, err = openNow(path); err == nil {
			info, err = f.Stat()
		}
	}
	if err == nil && !info.Mode().IsRegular() {
		err = errNoFile(info)
	}
	if err == nil && info.Size() == 0 {
		err = checkEmpty(f)
	}
	if err != nil {
		if f != nil {
			_ = f.Close() // it was only read
		}
		return nil, 0, 0, err
	}
	return f, info.Size(), info.Mode().Perm(), nil
}

// openNow opens a file to be read. It never waits, although a pipe may have replaced the file.
func openNow(path string) (*os.File, error) { return os.OpenFile(path, os.O_RDONLY|openNonblock, 0) }

func errNoFile(info fs.FileInfo) error {
	text := "it is no regular file"
	if info.IsDir() {
		text = "it is a folder, no regular file: send what is in it, with FileOptions.Dir"
	}
	return fault.New(text, fault.Rejected)
}

// checkEmpty refuses a file that claims to be empty and is not, such as those in /proc: it would
// arrive without its content.
func checkEmpty(f *os.File) error {
	n, err := f.ReadAt(make([]byte, 1), 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	info, err := f.Stat()
	if err == nil && n > 0 && info.Size() == 0 { // else it is empty, or has grown
		err = fault.New("it does not say how large it is: copy it first", fault.Rejected)
	}
	return err
}

// read reads the block at an offset of the file.
func (op *Op) read(block []byte, at int64) error {
	for n := 0; n < len(block); {
		more, err := op.file.Read(block[n:])
		if n += more; err != nil && n < len(block) {
			return op.readError(err, at+int64(n))
		}
	}
	return nil
}

// readError returns err, or an error that says that the file has become shorter, if that is the
// reason for err.
func (op *Op) readError(err error, at int64) error {
	if info, e := op.file.Stat(); e == nil && info.Size() <= at {
		return fmt.Errorf("the file has changed while it was sent: it had %d bytes, and has %d", op.head.Size, info.Size())
	}
	return err
}
