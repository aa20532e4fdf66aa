package link

// Body is the encoded body of a frame in memory that nobody else refers to: what is decoded from it may stay there.
type Body struct{ Bytes []byte }

// bodySlab is how many boxes of bodies are made at a time.
const bodySlab = 32

// NewBody puts the body of a frame into a box of its own. Only the link's reader may call it.
func (l *Link) NewBody(b []byte) *Body {
	if len(l.bodies) == 0 {
		l.bodies = make([]Body, bodySlab)
	}
	body := &l.bodies[0]
	l.bodies = l.bodies[1:]
	body.Bytes = b
	return body
}
