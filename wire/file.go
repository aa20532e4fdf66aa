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

// The stream of a file: the opener sends a head, the other side sends answers, and the file travels
// between them in blocks with a sum behind each block.

// FileOp is what the opener of a stream wants. The numbers are part of the protocol.
type FileOp uint8

// The operations.
const (
	FileSend   FileOp = 1 // send a file to the other side
	FileDelete FileOp = 2 // delete a file at the other side
	FileFetch  FileOp = 3 // have the files of a computation sent to the opener
)

// Sizes of what travels on a file's stream, in bytes.
const (
	FileBlock     = 512 << 10 // the size of a block; the last one may be shorter
	FileSum       = 4         // the size of the sum behind a block
	MaxDir        = 1024      // the longest folder in a head
	MaxFile       = 255       // the longest name in a head
	maxFileHead   = 2048
	maxFileAnswer = 128 << 10
)

// FileHead is the first thing on a file's stream.
type FileHead struct {
	_         struct{} `cbor:",toarray"`
	Op        FileOp
	Proof     Token  // that the sender knows the token of the computation that the file belongs to; zero: none
	Dir       string // below the folder of the receiver; slashes between names
	Name      string
	Size      int64 // in bytes
	Mode      uint32
	Overwrite bool
	Key       ID // random; part of the sums
}

// Prove returns a proof for the runtime with the ID to that its sender knows the token. The proof
// is worth nothing to another runtime, so its receiver cannot use it elsewhere nor act for the
// computation. It holds for a head with that key. The zero token has no proof.
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

// Proves reports whether h has the proof for the runtime with the ID to. The time that it takes
// does not depend on the proof.
func (t Token) Proves(h *FileHead, to ID) bool {
	want := t.Prove(to, h.Key)
	return hmac.Equal(want[:], h.Proof[:])
}

// FileAnswer is the answer to a head. If a file is to be sent there are two answers: the first has
// Go, the second comes after the file.
type FileAnswer struct {
	_   struct{} `cbor:",toarray"`
	Go  bool     // send the file
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

// fault returns what is wrong with a head; empty when nothing is. It does not check whether the
// names are safe.
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

// ReadFileHead reads a head. The error is [io.EOF] at the end of the stream, and [ErrMalformed] for
// what is not a head.
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

// decodeFilePart decodes a head or an answer. Each has exactly one encoding.
func decodeFilePart(b []byte, into any) error {
	if b[0]>>5 != 4 { // a null would be decoded into nothing without an error
		return fmt.Errorf("%w: what came over a file's stream is not an array", ErrMalformed)
	}
	if err := envelope.dec.Unmarshal(b, into); err != nil {
		//nolint:errorlint // cbor's error is for people only
		return fmt.Errorf("%w: what came over a file's stream: %v", ErrMalformed, err)
	}
	if again, err := envelope.enc.Marshal(into); err != nil || !bytes.Equal(again, b) {
		return fmt.Errorf("%w: what came over a file's stream has another encoding", ErrMalformed)
	}
	return nil
}

// AppendFileAnswer appends the encoded answer to dst. An error that is too long for an answer is
// cut to its text.
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

// ReadFileAnswer reads an answer. The error is [io.EOF] at the end of the stream, and
// [ErrMalformed] for what is not an answer.
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

// FileSums computes the sums of a file's blocks: the CRC-32C of the file's key, which is new for
// each file, of the block's number and of the block. Damage to one block stays unnoticed once in
// four thousand million times; a block that arrives twice, in the wrong order or not at all never
// does.
//
// The sums take as long as reading memory. They do not protect against an attacker who changes the
// bytes of an unprotected link, and can change the sums as well. On a link with a secret, TLS
// protects against that.
type FileSums struct {
	head [16 + 8]byte // the key, and the number of the next block; the head is number 0
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// NewFileSums returns the sums of one file, beginning with its head.
func NewFileSums(key ID) *FileSums {
	s := &FileSums{}
	copy(s.head[:], key[:])
	return s
}

// Skip skips the sum of the head: the next sum is that of the first block.
func (s *FileSums) Skip() *FileSums {
	s.count()
	return s
}

// Append appends the sum of the next block to dst.
func (s *FileSums) Append(dst, block []byte) []byte {
	return binary.BigEndian.AppendUint32(dst, s.next(block))
}

// Check reports whether sum is the sum of the next block.
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
