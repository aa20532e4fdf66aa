package link

// Body is the encoded body of a frame in memory that nothing else refers to, so that what is decoded
// from it may refer to that memory.
type Body struct{ Bytes []byte }

// bodySlab is how many boxes are made at a time.
const bodySlab = 32

// NewBody puts the body of a frame into a box of its own. Only the link's reader may call it, which
// is the goroutine that calls Host.Frame.
func (l *Link) NewBody(b []byte) *Body {
	if len(l.bodies) == 0 {
		l.bodies = make([]Body, bodySlab)
	}
	body := &l.bodies[0]
	l.bodies = l.bodies[1:]
	body.Bytes = b
	return body
}
