package discoro

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/link"
)

// Connect makes a link to the runtime at addr, "host:port", and returns its announced location. It blocks until the
// link is up, at most Config.MsgTimeout or until ctx ends. ErrDisconnected: nobody answers there; ErrUnauthorized: the
// secrets or certificates do not fit; ErrRejected: another protocol version, this very runtime, or refused for another
// reason.
func (rt *Runtime) Connect(ctx context.Context, addr string) (Location, error) {
	loc, err := ParseLocation(addr)
	if err != nil {
		return Location{}, err
	}
	l, err := rt.linkAt(ctx, loc)
	if err != nil {
		return Location{}, fmt.Errorf("discoro: %w", err)
	}
	if l.IsSelf() {
		return Location{}, fmt.Errorf("discoro: connect to %v: that is this runtime itself: %w", loc, ErrRejected)
	}
	return Location(l.Location()), nil
}

// Disconnect closes the link to the runtime at loc; what was on it ends with ErrDisconnected on both sides. Config.Peers
// are dialled again. It blocks until what is queued has been sent, at most a second. ErrNotFound: there is no link to loc.
func (rt *Runtime) Disconnect(loc Location) error {
	links := slices.DeleteFunc(rt.net.All(), func(l *link.Link) bool { return Location(l.Location()) != loc })
	if len(links) == 0 && rt.isClosing() {
		return fmt.Errorf("discoro: disconnect %v: %w", loc, errRuntimeClosed)
	}
	if len(links) == 0 {
		return fmt.Errorf("discoro: disconnect %v: no link to it: %w", loc, ErrNotFound)
	}
	ctx, cancel := context.WithTimeout(rt.ctx, time.Second)
	defer cancel()
	for _, l := range links {
		k := call.New(waitDisconnect, nil)
		if !rt.start(func() {
			l.Bye(ctx, rt.String()+" disconnects")
			k.Finish(call.Outcome{})
		}) {
			return nil // Close does it
		}
		if _, err := rt.wait(context.Background(), k); err != nil {
			return err
		}
	}
	return nil
}

// Peers returns the locations of the runtimes that there is a link to, sorted.
func (rt *Runtime) Peers() []Location {
	var locs []Location
	for _, l := range rt.net.All() {
		if _, up := l.Peer(); up {
			locs = append(locs, Location(l.Location()))
		}
	}
	slices.SortFunc(locs, func(a, b Location) int { return cmp.Or(cmp.Compare(a.Addr, b.Addr), cmp.Compare(a.Port, b.Port)) })
	return locs
}

// Traffic counts what went over a runtime's links since its start.
type Traffic struct {
	FramesSent, FramesReceived uint64
	BytesSent, BytesReceived   uint64 // of frames; yamux and TLS add to that
	Writes                     uint64 // each carries all the frames that were queued then
}

// Traffic returns what went over the links so far; what goes from the runtime to itself is not counted.
func (rt *Runtime) Traffic() Traffic {
	return Traffic(rt.net.Traffic())
}
