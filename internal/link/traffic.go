package link

import "sync/atomic"

// Traffic counts what went over links.
type Traffic struct {
	FramesSent, FramesReceived uint64
	BytesSent, BytesReceived   uint64 // of frames; yamux and TLS add to that
	Writes                     uint64 // each carries all the frames that were queued then
}

// traffic is Traffic while it is counted.
type traffic struct {
	framesSent, framesReceived, bytesSent, bytesReceived, writes atomic.Uint64
}

// sent counts a frame that was queued, received one that was read, wrote a Write.
func (t *traffic) sent(frames, bytes int) {
	t.framesSent.Add(uint64(frames))
	t.bytesSent.Add(uint64(bytes))
}

func (t *traffic) received(bytes int) {
	t.framesReceived.Add(1)
	t.bytesReceived.Add(uint64(bytes))
}

func (t *traffic) wrote() { t.writes.Add(1) }
