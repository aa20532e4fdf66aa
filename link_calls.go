package discoro

import (
	"context"
	"errors"
	"fmt"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/wire"
)

// request sends the frame that build makes for a call number, and waits for its answer or for ctx to end. why says what is
// waited for, as in CoroState.State.
func (l *link) request(ctx context.Context, why string, build func(call uint64) wire.Frame) (call.Outcome, error) {
	return l.requestOf(ctx, why, nil, build)
}

// requestOf is request that says of which coroutine something is waited for, too.
func (l *link) requestOf(ctx context.Context, why string, of any, build func(call uint64) wire.Frame) (call.Outcome, error) {
	if !l.isSelf() {
		if err := l.waitRoom(ctx, build(0)); err != nil {
			return call.Outcome{}, err
		}
	}
	k := call.New(why, of)
	id, err := l.ask(k, build)
	if err != nil {
		return call.Outcome{}, err
	}
	out, err := l.net.host.wait(ctx, k)
	if err != nil && l.takeCall(id) != nil {
		l.tell(&wire.Cancel{Call: id}) // nobody waits for the answer any longer
	}
	return out, err
}

// ask sends the frame that build makes for a call number; the answer goes to k.
func (l *link) ask(k call.Answerer, build func(call uint64) wire.Frame) (uint64, error) {
	return l.askBy(k, func(call uint64) error { return l.post(build(call)) })
}

// askLast asks what is answered once the other side has read all that was posted before, large frames included.
func (l *link) askLast(k call.Answerer) error {
	_, err := l.askBy(k, func(call uint64) error { return l.postAs(laneKey{kind: laneLast}, &wire.Locate{Call: call}) })
	return err
}

// askBy has post send a question; the answer goes to k.
func (l *link) askBy(k call.Answerer, post func(call uint64) error) (uint64, error) {
	id, err := l.numberCall(k)
	if err != nil {
		return 0, err
	}
	if err := post(id); err != nil && l.takeCall(id) != nil {
		return 0, err
	}
	return id, nil
}

// numberCall gives a call whose answer goes to k a number. The caller sends the question.
func (l *link) numberCall(k call.Answerer) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == linkDown {
		return 0, l.err
	}
	l.nextCall++
	l.calls[l.nextCall] = k
	return l.nextCall, nil
}

// takeCall removes and returns a pending call, nil when it is not pending.
func (l *link) takeCall(id uint64) call.Answerer {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.calls[id]
	delete(l.calls, id)
	return k
}

// errCallTwice is a peer that uses a call's number again before that call is answered.
var errCallTwice = errors.New("the peer used the number of a call that is not answered yet")

// serve books that a call of the other side waits here; stop ends that when the other side gives up or the link ends.
// ErrRejected: too many wait already. ErrDisconnected: the link is down. With an error, stop is not called.
func (l *link) serve(id uint64, stop func()) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.state == linkDown:
		return l.err
	case l.served[id] != nil:
		return errCallTwice
	case len(l.served) >= maxServed:
		return fmt.Errorf("discoro: %v: %d calls of this peer wait here already: %w", l.net.cfg.loc, maxServed, ErrRejected)
	}
	l.served[id] = stop
	return nil
}

// unserve removes a call of the other side; it returns how to stop waiting, nil when it is not there.
func (l *link) unserve(id uint64) func() {
	l.mu.Lock()
	defer l.mu.Unlock()
	stop := l.served[id]
	delete(l.served, id)
	return stop
}

// reply answers a call of the other side.
func (l *link) reply(id uint64, out call.Outcome) {
	if l.isSelf() {
		if k := l.takeCall(id); k != nil {
			k.Finish(out)
		}
		return
	}
	l.tell(&wire.Reply{Call: id, Outcome: *l.net.host.encode(out)})
}
