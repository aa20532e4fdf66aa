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

// state is where a link is in its life. It changes between stateDialing and stateGreeting while
// connections are tried, then to stateUp. From every state it changes to stateDown, once.
type state uint8

const (
	stateDialing  state = iota // no connection has a proven peer
	stateGreeting              // one connection has the claim
	stateUp
	stateDown
)

// claim is the right of one connection to become the link's. The peer of that connection has proven
// itself; the listener's decision is still missing.
type claim struct {
	dialled bool     // immutable: by this side
	at      Location // immutable: where this side has reached the peer, if it has dialled
}

// addDial counts one more dial. It returns false if the link has ended.
func (l *Link) addDial() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == stateDown {
		return false
	}
	l.dials++
	return true
}

// endDial counts the end of a dial. If nothing else can bring the link up any more, the link ends with
// err.
func (l *Link) endDial(err error) {
	l.failWhen(err, func() bool {
		l.dials--
		return l.dials == 0 && l.state == stateDialing
	})
}

// duplicate refuses a connection because the link has one.
func duplicate() *wire.Refusal {
	return &wire.Refusal{Code: wire.RefuseDuplicate, Text: "there is a link already"}
}

// claimDialled gives the claim to a connection that this side has dialled.
func (l *Link) claimDialled(at Location) (*claim, *wire.Refusal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state != stateDialing {
		return nil, duplicate()
	}
	l.state, l.claim = stateGreeting, &claim{dialled: true, at: at}
	return l.claim, nil
}

// claimAccepted gives the claim to a connection that the peer has dialled. If two runtimes dial
// each other at the same time, and both connections have a proven peer, both sides keep the one
// that the runtime with the smaller identity has dialled: no frame is needed to agree on that. lost
// reports that the link is up at this side and has ended at the other.
func (l *Link) claimAccepted(peer wire.Hello) (c *claim, refusal *wire.Refusal, lost bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.state == stateDialing, l.state == stateGreeting && l.claim.dialled && l.net.cfg.ID.Compare(peer.ID) > 0:
		l.state, l.claim = stateGreeting, &claim{}
		return l.claim, nil, false
	case l.state == stateUp && peer.Epoch > l.peer.Epoch:
		// A peer does not dial while it has a link. One later greeting does not prove that the peer
		// has lost the link: the greeting may have been on its way when the link came up. A second
		// one proves it.
		if lost = l.newer != 0 && peer.Epoch > l.newer; !lost {
			l.newer = peer.Epoch
		}
	}
	return nil, duplicate(), lost
}

// release gives a claim back, because its connection has failed with err.
func (l *Link) release(c *claim, err error) {
	l.failWhen(err, func() bool {
		if l.claim != c {
			return false
		}
		l.state, l.claim = stateDialing, nil
		return l.dials == 0
	})
}

// up brings the link up on conn, which has the claim c. If the claim has passed to another connection,
// or the link has ended, up closes conn and returns false. It is the only place where a link comes up,
// and starts the link's goroutines.
func (l *Link) up(c *claim, conn *transport.Conn, peer wire.Hello) bool {
	if l.prev != nil {
		<-l.prev.notified // soon, as prev has ended: the host is notified of one link after another
	}
	l.mu.Lock()
	if l.claim != c {
		l.mu.Unlock()
		conn.Close()
		return false
	}
	l.state, l.claim, l.conn, l.peer = stateUp, nil, conn, peer
	l.dialled = c.at
	l.loc = Location{Addr: peer.Host, Port: peer.Port}
	l.lastSent, l.announced = time.Now(), l.net.beat.usual // as in hello
	close(l.ready)
	l.mu.Unlock()
	l.net.cfg.Log.Debug("link up", slog.String("peer", l.Location().String()))
	l.net.host.Up(l)
	l.mu.Lock()
	l.came = true
	err := l.err
	l.mu.Unlock()
	if err != nil { // failWhen has not notified the host, as came was not set yet: up does it
		l.net.wentDown(l, true, err)
		return false
	}
	l.net.beat.lookAt(l)
	l.net.host.Start(l.write)
	l.net.host.Start(l.read)
	l.net.host.Start(l.acceptStreams)
	return true
}

// Fail ends the link because of cause, and everything that uses it.
func (l *Link) Fail(cause error) { l.failWhen(cause, func() bool { return true }) }

// failWhen is Fail if the link has not ended yet and when returns true. when is called with mu held.
//
// The users of the link end in this order: first the host is notified (roles, jobs, watches and
// channels), then the connection closes, then senders and callers return, and last the calls of the
// other side are stopped. So when a call fails because of the end, the host knows of the end
// already.
func (l *Link) failWhen(cause error, when func() bool) {
	if l.net.isClosing() {
		cause = fault.New(fmt.Sprintf("%v (%s)", fault.RuntimeClosed, fault.Bare(cause)), fault.Closed, cause)
	}
	l.mu.Lock()
	if l.state == stateDown || !when() {
		l.mu.Unlock()
		return
	}
	wasUp, notify := l.state == stateUp, l.state != stateUp || l.came
	l.state, l.claim = stateDown, nil
	l.err = errDown(l.loc, cause)
	err, conn := l.err, l.conn
	calls, served := l.calls, l.served
	l.calls, l.served = nil, nil
	l.queue, l.spare = queue{}, nil
	room := l.room.end()
	close(l.ended)
	if !wasUp {
		close(l.ready)
	}
	l.mu.Unlock()

	if notify {
		l.net.wentDown(l, wasUp, err)
	}
	if conn != nil {
		conn.Close()
	}
	out := call.Outcome{Err: fault.New(fault.Prefix+err.Error(), err)} // some callers return just that
	for _, k := range room {
		k.Finish(out)
	}
	for _, k := range calls {
		k.Finish(out)
	}
	for _, stop := range served {
		stop()
	}
}

// errDown is the error of every use of a link that has ended because of cause.
func errDown(loc Location, cause error) error {
	is := []error{fault.Disconnected}
	if refused := refusedAs(cause); refused != nil {
		is = append(is, refused)
	}
	if errors.Is(cause, fault.Closed) {
		is = append(is, fault.Closed)
	}
	if errors.Is(cause, fault.Disconnected) { // the error of a failed dial says everything
		return fault.New(cause.Error(), is...)
	}
	return fault.New(fmt.Sprintf("the link to %v is down: %v: disconnected", loc, cause), is...)
}

// refusedAs returns the sentinel for a refusal by the peer, and nil if err has none.
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

// stateNow returns the state. It may have changed when stateNow returns.
func (l *Link) stateNow() state {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}
