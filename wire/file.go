package wire

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"unicode/utf8"
)

// What goes over the stream of a file: a head from who opens it, answers, and between them the file in blocks, each with a
// sum behind it.

// FileOp is what the opener of a stream wants. Numbers are part of the protocol.
type FileOp uint8

// The operations.
const (
	FileSend   FileOp = 1 // a file is to be sent there
	FileDelete FileOp = 2 // a file is to be deleted there
	FileFetch  FileOp = 3 // the files of a computation are to be sent here
)

// Bounds of what goes over a file's stream, in bytes.
const (
	FileBlock     = 512 << 10 // a block of a file; the last one is what is left
	FileSum       = 4         // the sum behind a block
	MaxDir        = 1024      // the folder in a head
	MaxFile       = 255       // the name in a head
	maxFileHead   = 2048
	maxFileAnswer = 128 << 10
)

// FileHead is the first thing on a file's stream.
type FileHead struct {
	_         struct{} `cbor:",toarray"`
	Op        FileOp
	Proof     Token  // of knowing the token of the computation that the file belongs to; zero: it belongs to none
	Dir       string // below the folder; slashes between names
	Name      string
	Size      int64 // bytes
	Mode      uint32
	Overwrite bool
	Key       ID // of the sums; random
}

// Prove returns what shows to the runtime with the ID to, and to no other, that its sender knows the token: who is sent one cannot
// show it to others, nor act for the computation. It holds for a head with that key. The zero token has none.
func (t Token) Prove(to, key ID) Token {
	if t == (Token{}) {
		return t
	}
	mac := hmac.New(sha256.New, t[:])
	mac.Write([]byte("discoro file"))
	mac.Write(to[:])
	mac.Write(key[:])
	return Token(mac.Sum(nil)[:len(t)])
}

// Proves reports whether h has the proof for the runtime with the ID to, in a time that tells nothing of the right one.
func (t Token) Proves(h *FileHead, to ID) bool {
	want := t.Prove(to, h.Key)
	return hmac.Equal(want[:], h.Proof[:])
}

// FileAnswer is what comes back. Where there are bytes to send there are two of them, the first of which has Go.
type FileAnswer struct {
	_   struct{} `cbor:",toarray"`
	Go  bool     // send the bytes
	Err *Failure
}

// AppendFileHead appends the encoded head to dst.
func AppendFileHead(dst []byte, h *FileHead) ([]byte, error) {
	if fault := h.fault(); fault != "" {
		return dst, errors.New("a file's head: " + fault)
	}
	array, err := envelope.enc.Marshal(h)
	if err != nil {
		return dst, err
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(array)))
	dst = append(dst, array...)
	return NewFileSums(h.Key).Append(dst, array), nil
}

// fault says what is wrong with a head, or nothing. Whether the names are good ones is not looked at.
func (h *FileHead) fault() string {
	switch {
	case h.Op < FileSend || h.Op > FileFetch:
		return fmt.Sprintf("its operation is %d", h.Op)
	case len(h.Dir) > MaxDir || !utf8.ValidString(h.Dir):
		return fmt.Sprintf("its folder is longer than %d bytes, or not UTF-8", MaxDir)
	case len(h.Name) > MaxFile || !utf8.ValidString(h.Name):
		return fmt.Sprintf("its name is longer than %d bytes, or not UTF-8", MaxFile)
	case h.Size < 0:
		return fmt.Sprintf("its size is %d", h.Size)
	}
	return ""
}

// ReadFileHead reads a head. What is not one is [ErrMalformed]; [io.EOF]: there is nothing.
func ReadFileHead(r io.Reader) (*FileHead, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	if n == 0 || n > maxFileHead {
		return nil, fmt.Errorf("%w: the head of a file claims %d bytes", ErrMalformed, n)
	}
	buf := make([]byte, n+FileSum)
	if _, err := io.ReadFull(r, buf); err != nil {
		return nil, cutShort(err)
	}
	array := buf[:n]
	h := &FileHead{}
	if err := decodeFilePart(array, h); err != nil {
		return nil, err
	}
	if fault := h.fault(); fault != "" {
		return nil, fmt.Errorf("%w: the head of a file: %s", ErrMalformed, fault)
	}
	if !NewFileSums(h.Key).Check(array, buf[n:]) {
		return nil, fmt.Errorf("%w: the head of a file has another sum", ErrMalformed)
	}
	return h, nil
}

// decodeFilePart decodes a head or an answer, whose only encoding is the one that it has here.
func decodeFilePart(b []byte, into any) error {
	if b[0]>>5 != 4 { // a null decodes into nothing without an error
		return fmt.Errorf("%w: what came over a file's stream is not an array", ErrMalformed)
	}
	if err := envelope.dec.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%w: what came over a file's stream: %v", ErrMalformed, err) //nolint:errorlint // cbor's error is for reading only
	}
	if again, err := envelope.enc.Marshal(into); err != nil || !bytes.Equal(again, b) {
		return fmt.Errorf("%w: what came over a file's stream has another encoding", ErrMalformed)
	}
	return nil
}

// AppendFileAnswer appends the encoded answer to dst. An error that is too long for one is cut to its text.
func AppendFileAnswer(dst []byte, a *FileAnswer) ([]byte, error) {
	array, err := envelope.enc.Marshal(a)
	if err == nil && len(array) > maxFileAnswer && a.Err != nil {
		array, err = envelope.enc.Marshal(&FileAnswer{Err: &Failure{Msg: cutText(a.Err.Msg, maxFileAnswer/2)}})
	}
	if err != nil {
		return dst, err
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(array)))
	return append(dst, array...), nil
}

// ReadFileAnswer reads an answer. What is not one is [ErrMalformed]; [io.EOF]: there is nothing.
func ReadFileAnswer(r io.Reader) (*FileAnswer, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n == 0 || n > maxFileAnswer {
		return nil, fmt.Errorf("%w: an answer about a file claims %d bytes", ErrMalformed, n)
	}
	buf := make([]byte, n)
	if _, err := io.ReadFull(r, buf); err != nil {
		return nil, cutShort(err)
	}
	a := &FileAnswer{}
	return a, decodeFilePart(buf, a)
}

// FileSums makes the sums of a file's blocks: CRC-32C of the file's key, which is new for each, the block's number and the block. Damage
// to one is missed once in four thousand million times, and a block that comes twice, too late or not at all never.
// It is made at the speed of memory. Who could change what is on a link in clear on purpose could change sums, too; with
// a secret TLS finds that.
type FileSums struct {
	head [16 + 8]byte // the key, and the number of the next block; 0 is the head
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// NewFileSums returns the sums of one file, at its head.
func NewFileSums(key ID) *FileSums {
	s := &FileSums{}
	copy(s.head[:], key[:])
	return s
}

// Skip leaves out the head.
func (s *FileSums) Skip() *FileSums {
	s.count()
	return s
}

// Append appends the next block's sum to dst.
func (s *FileSums) Append(dst, block []byte) []byte {
	return binary.BigEndian.AppendUint32(dst, s.next(block))
}

// Check reports whether sum is that of the next block.
func (s *FileSums) Check(block, sum []byte) bool {
	return s.next(block) == binary.BigEndian.Uint32(sum)
}

func (s *FileSums) next(block []byte) uint32 {
	sum := crc32.Update(crc32.Checksum(s.head[:], castagnoli), castagnoli, block)
	s.count()
	return sum
}

func (s *FileSums) count() {
	n := binary.BigEndian.Uint64(s.head[16:])
	binary.BigEndian.PutUint64(s.head[16:], n+1)
}
