package link

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/transport"
	"github.com/discoro/discoro/wire"
)

// linkState is where a link is in its life. It goes from linkDialing to linkGreeting and back as connections are tried, then
// to linkUp, and from wherever it is to linkDown, once.
type state uint8

const (
	stateDialing  state = iota // no connection is as far as a proven peer
	stateGreeting              // one connection has the claim
	stateUp
	stateDown
)

// claim is the right of one connection to become the link's. The peer has proven itself on it; what is missing is the
// listener's verdict.
type claim struct {
	dialled bool     // immutable: by this side
	at      Location // immutable: where it reached the peer, when it did
}

// addDial books one more dial; it reports false when the link is down.
func (l *Link) addDial() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == stateDown {
		return false
	}
	l.dials++
	return true
}

// endDial books the end of a dial. Nothing else may make the link come up: then it fails with err.
func (l *Link) endDial(err error) {
	l.failWhen(err, func() bool {
		l.dials--
		return l.dials == 0 && l.state == stateDialing
	})
}

// duplicate refuses a connection beside the one there is.
func duplicate() *wire.Refusal {
	return &wire.Refusal{Code: wire.RefuseDuplicate, Text: "there is a link already"}
}

// claimDialled gives the link to a connection that this side has dialled.
func (l *Link) claimDialled(at Location) (*claim, *wire.Refusal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state != stateDialing {
		return nil, duplicate()
	}
	l.state, l.claim = stateGreeting, &claim{dialled: true, at: at}
	return l.claim, nil
}

// claimAccepted gives the link to a connection that the peer has dialled. Two runtimes that dial each other at once, and
// have both got as far as a claim, keep the connection that the one with the smaller identity dialled. lost reports that
// the link is up here and has ended there.
func (l *Link) claimAccepted(peer wire.Hello) (c *claim, refusal *wire.Refusal, lost bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.state == stateDialing, l.state == stateGreeting && l.claim.dialled && l.net.cfg.ID.Compare(peer.ID) > 0:
		l.state, l.claim = stateGreeting, &claim{}
		return l.claim, nil, false
	case l.state == stateUp && peer.Epoch > l.peer.Epoch:
		// A peer does not dial when it has a link. One greeting may have been on its way when this link came up, its
		// dialler having lost to it; a second one cannot.
		if lost = l.newer != 0 && peer.Epoch > l.newer; !lost {
			l.newer = peer.Epoch
		}
	}
	return nil, duplicate(), lost
}

// release gives a claim back: its connection came to nothing, because of err.
func (l *Link) release(c *claim, err error) {
	l.failWhen(err, func() bool {
		if l.claim != c {
			return false
		}
		l.state, l.claim = stateDialing, nil
		return l.dials == 0
	})
}

// up makes the link run on t, which has the claim c. When that has passed to another connection, or the link has ended, it
// closes t and reports false.
func (l *Link) up(c *claim, t *transport.Conn, peer wire.Hello) bool {
	if l.prev != nil {
		<-l.prev.told // soon: it is down
	}
	l.mu.Lock()
	if l.claim != c {
		l.mu.Unlock()
		t.Close()
		return false
	}
	l.state, l.claim, l.t, l.peer = stateUp, nil, t, peer
	l.dialled = c.at
	l.loc = Location{Addr: peer.Host, Port: peer.Port}
	l.lastSent, l.announced = time.Now(), l.net.beat.usual // as hello says
	close(l.ready)
	l.mu.Unlock()
	l.net.cfg.Log.Debug("link up", slog.String("peer", l.Location().String()))
	l.net.host.Up(l)
	l.mu.Lock()
	l.came = true
	err := l.err
	l.mu.Unlock()
	if err != nil { // meanwhile; fail has left it to us to tell, so that the roles hear both in order
		l.net.wentDown(l, true, err)
		return false
	}
	l.net.beat.lookAt(l)
	l.net.host.Start(l.write)
	l.net.host.Start(l.read)
	l.net.host.Start(l.acceptStreams)
	return true
}

// Fail ends the link and everything that was on it.
func (l *Link) Fail(cause error) { l.failWhen(cause, func() bool { return true }) }

// failWhen is fail if the link has not ended yet and when, which is called with the lock held, says so.
func (l *Link) failWhen(cause error, when func() bool) {
	if l.net.isClosing() {
		cause = fault.New(fmt.Sprintf("%v (%s)", fault.RuntimeClosed, fault.Bare(cause)), fault.Closed, cause)
	}
	l.mu.Lock()
	if l.state == stateDown || !when() {
		l.mu.Unlock()
		return
	}
	wasUp, tell := l.state == stateUp, l.state != stateUp || l.came
	l.state, l.claim = stateDown, nil
	l.err = errDown(l.loc, cause)
	err, t := l.err, l.t
	calls, served := l.calls, l.served
	l.calls, l.served = nil, nil
	l.queue, l.spare = queue{}, nil
	room := l.room.end()
	close(l.ended)
	if !wasUp {
		close(l.ready)
	}
	l.mu.Unlock()

	if tell {
		l.net.wentDown(l, wasUp, err)
	}
	if t != nil {
		t.Close()
	}
	told := call.Outcome{Err: fault.New(fault.Prefix+err.Error(), err)} // some are told of nothing else
	for _, k := range room {
		k.Finish(told)
	}
	for _, k := range calls {
		k.Finish(told)
	}
	for _, stop := range served {
		stop()
	}
}

// errDown is the error of everything that was on a link.
func errDown(loc Location, cause error) error {
	is := []error{fault.Disconnected}
	if refused := refusedAs(cause); refused != nil {
		is = append(is, refused)
	}
	if errors.Is(cause, fault.Closed) {
		is = append(is, fault.Closed)
	}
	if errors.Is(cause, fault.Disconnected) { // a dial that failed says it all
		return fault.New(cause.Error(), is...)
	}
	return fault.New(fmt.Sprintf("the link to %v is down: %v: disconnected", loc, cause), is...)
}

// refusedAs maps what a peer refused with to the sentinel that users test for.
func refusedAs(err error) error {
	var r *wire.Refusal
	if !errors.As(err, &r) {
		return nil
	}
	if r.Code == wire.RefuseUnauthorized || r.Code == wire.RefuseMismatch {
		return fault.Unauthorized
	}
	return fault.Rejected
}

// stateNow returns where the link is in its life; it may be elsewhere by now.
func (l *Link) stateNow() state {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}
