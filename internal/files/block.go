package files

import (
	"sync"

	"github.com/discoro/discoro/wire"
)

// buffer holds a block of a file with its sum: what is read, sent, received and written at once.
type buffer [wire.FileBlock + wire.FileSum]byte

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// block returns room for the next block of a file with left bytes still to come, and room for that
// block with its sum.
func (b *buffer) block(left int64) (block, whole []byte) {
	n := min(left, wire.FileBlock)
	return b[:n], b[:n+wire.FileSum]
}
