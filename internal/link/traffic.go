package link

import "sync/atomic"

// Traffic is how much went over a runtime's links since its start, except over the one to itself.
type Traffic struct {
	FramesSent, FramesReceived uint64
	BytesSent, BytesReceived   uint64 // of frames; yamux and TLS add to that
	Writes                     uint64 // each writes all the frames that are queued
}

// traffic counts Traffic.
type traffic struct {
	framesSent, framesReceived, bytesSent, bytesReceived, writes atomic.Uint64
}

// sent counts frames when they are queued.
func (t *traffic) sent(frames, bytes int) {
	t.framesSent.Add(uint64(frames))
	t.bytesSent.Add(uint64(bytes))
}

// received counts a frame that was read.
func (t *traffic) received(bytes int) {
	t.framesReceived.Add(1)
	t.bytesReceived.Add(uint64(bytes))
}

// wrote counts a write to a connection.
func (t *traffic) wrote() { t.writes.Add(1) }

// Traffic returns how much went over the links so far.
func (n *Net) Traffic() Traffic {
	t := &n.traffic
	return Traffic{
		FramesSent: t.framesSent.Load(), FramesReceived: t.framesReceived.Load(),
		BytesSent: t.bytesSent.Load(), BytesReceived: t.bytesReceived.Load(), Writes: t.writes.Load(),
	}
}
