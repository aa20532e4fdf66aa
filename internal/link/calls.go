package link

import (
	"context"
	"errors"
	"fmt"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/wire"
)

// Request sends the frame that build makes for the number of a call, and waits for the answer or until
// ctx ends. It waits for room in the queue first. why and of are as in call.New.
func (l *Link) Request(
	ctx context.Context, why string, of any, build func(call uint64) wire.Frame,
) (call.Outcome, error) {
	if !l.IsSelf() {
		if err := l.WaitRoom(ctx, build(0)); err != nil {
			return call.Outcome{}, err
		}
	}
	k := call.New(why, of)
	id, err := l.Ask(k, build)
	if err != nil {
		return call.Outcome{}, err
	}
	out, err := l.net.host.Wait(ctx, k)
	if err != nil && l.TakeCall(id) != nil {
		l.Tell(&wire.Cancel{Call: id}) // nobody waits for the answer any more
	}
	return out, err
}

// Ask sends the frame that build makes for the number of a call. k gets the answer. If the link ends
// before that, k gets the link's error.
func (l *Link) Ask(k call.Answerer, build func(call uint64) wire.Frame) (uint64, error) {
	return l.askBy(k, func(call uint64) error { return l.Post(build(call)) })
}

// AskLast asks a question that the other side answers once it has read everything that was posted
// before, large frames included.
func (l *Link) AskLast(k call.Answerer) error {
	_, err := l.askBy(k, func(call uint64) error {
		return l.postAs(laneKey{kind: laneLast}, &wire.Locate{Call: call})
	})
	return err
}

// askBy numbers a call, and has post send the question.
func (l *Link) askBy(k call.Answerer, post func(call uint64) error) (uint64, error) {
	id, err := l.Number(k)
	if err != nil {
		return 0, err
	}
	if err := post(id); err != nil && l.TakeCall(id) != nil {
		return 0, err
	}
	return id, nil
}

// Number gives a call a number, under which k gets the answer. The caller sends the question.
func (l *Link) Number(k call.Answerer) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == stateDown {
		return 0, l.err
	}
	l.nextCall++
	l.calls[l.nextCall] = k
	return l.nextCall, nil
}

// TakeCall removes and returns a call that is not answered yet, nil if there is none with that
// number.
func (l *Link) TakeCall(id uint64) call.Answerer {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.calls[id]
	delete(l.calls, id)
	return k
}

// ErrCallTwice is a breach of the protocol: the peer has used the number of a call again before that
// call was answered.
var ErrCallTwice = errors.New("the peer used the number of a call that is not answered yet")

// Serve records that a call of the other side waits here. stop is called when the link ends, and
// when a Cancel arrives from the other side. If Serve returns an error, stop is never called. The
// error is fault.Rejected when too many calls wait already, and fault.Disconnected when the link
// has ended.
func (l *Link) Serve(id uint64, stop func()) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.state == stateDown:
		return l.err
	case l.served[id] != nil:
		return ErrCallTwice
	case len(l.served) >= MaxServed:
		return fmt.Errorf("discoro: %v: %d calls of this peer wait here already: %w",
			l.net.cfg.Location, MaxServed, fault.Rejected)
	}
	l.served[id] = stop
	return nil
}

// Unserve removes a call of the other side and returns its stop function, nil if there is none. Only
// one of several callers gets it: that one may reply.
func (l *Link) Unserve(id uint64) func() {
	l.mu.Lock()
	defer l.mu.Unlock()
	stop := l.served[id]
	delete(l.served, id)
	return stop
}

// Reply answers a call of the other side.
func (l *Link) Reply(id uint64, out call.Outcome) {
	if l.IsSelf() {
		if k := l.TakeCall(id); k != nil {
			k.Finish(out)
		}
		return
	}
	l.Tell(&wire.Reply{Call: id, Outcome: *l.net.host.Encode(out)})
}

// Refuse answers a call that cannot be served because of err. If err is a breach of the protocol, it
// returns err instead.
func (l *Link) Refuse(id uint64, err error) error {
	if errors.Is(err, ErrCallTwice) {
		return err
	}
	l.Reply(id, call.Outcome{Err: err})
	return nil
}
