package discoro

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/turn"
)

// mailRoom is what waits for room in a mailbox that Config.MaxMailbox bounds, and what was refused. It is guarded by the
// coroutine's mu. Whenever something waits, the mailbox is full: the coroutine moves what waits into the mailbox as it makes
// room, in the order in which it came.
type mailRoom struct {
	waits   []*roomWait
	bytes   int    // of messages from elsewhere that wait
	refused uint64 // messages of other runtimes
}

// roomWait is a message that waits for room.
type roomWait struct {
	msg  any           // immutable
	size int           // immutable: its bytes when it came over a link, else 0
	to   call.Answerer // immutable: told, without an error, when it is in the mailbox
	in   bool          // guarded by the coroutine's mu: it is
}

// maxWaitBytes is how many bytes of messages from elsewhere wait for room in one mailbox, besides the first.
const maxWaitBytes = 4 << 20

// takeAll removes and returns what waits.
func (r *mailRoom) takeAll() []*roomWait {
	if r == nil {
		return nil
	}
	waits := r.waits
	r.waits, r.bytes = nil, 0
	return waits
}

// fullLocked reports whether the mailbox has no room.
func (l *localCoro) fullLocked() bool { return l.box.lengthLocked() >= l.rt.cfg.MaxMailbox }

func (l *localCoro) roomLocked() *mailRoom {
	if l.room == nil {
		l.room = &mailRoom{}
	}
	return l.room
}

// errFull is the error of what finds no room.
func (l *localCoro) errFull(why error) error {
	return fault.Because(why, "not sent to %v: its mailbox is full (Config.MaxMailbox is %d)", &l.Coro, l.rt.cfg.MaxMailbox)
}

// putOrWait puts w's message into the mailbox. When that is full, w waits until there is room or the coroutine ends, and
// is then told.
func (l *localCoro) putOrWait(w *roomWait) (waits bool, err error) {
	if l.rt.cfg.MaxMailbox == 0 {
		return false, l.put(w.msg)
	}
	l.mu.Lock()
	if l.ending || !l.fullLocked() {
		l.mu.Unlock()
		return false, l.put(w.msg)
	}
	room := l.roomLocked()
	over := w.size > 0 && room.bytes > 0 && room.bytes+w.size > maxWaitBytes
	if !over {
		room.waits = append(room.waits, w)
		room.bytes += w.size
	}
	l.mu.Unlock()
	if over {
		return false, l.errFull(fmt.Errorf("more than %d bytes wait for room already: %w", maxWaitBytes, ErrRejected))
	}
	return true, nil
}

// takeBack ends w's wait; it reports false when w is told, or about to be.
func (l *localCoro) takeBack(w *roomWait) bool {
	if l.rt.cfg.MaxMailbox == 0 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.room == nil {
		return false
	}
	i := slices.Index(l.room.waits, w)
	if i < 0 {
		return false
	}
	l.room.waits = slices.Delete(l.room.waits, i, i+1)
	l.room.bytes -= w.size
	return true
}

// admit counts what the coroutine has received, and moves into the mailbox what there is room for.
func (l *localCoro) admit() {
	var in []*roomWait
	l.mu.Lock()
	l.box.tellLocked()
	if room := l.room; room != nil {
		for len(room.waits) > 0 && !l.fullLocked() {
			w := room.waits[0]
			room.waits[0] = nil
			room.waits = room.waits[1:]
			room.bytes -= w.size
			l.box.putLocked(w.msg)
			w.in = true
			in = append(in, w)
		}
	}
	l.mu.Unlock()
	for _, w := range in {
		w.to.Finish(call.Outcome{})
	}
}

// refuse counts and logs a message of another runtime when there is no room for it. Nobody waits for such a message.
func (l *localCoro) refuse() bool {
	l.mu.Lock()
	full := !l.ending && l.fullLocked()
	l.mu.Unlock()
	if !full || l.away.Load() && (l.joining.Load() > 0 || l.rt.channels.bring(l.rt.exported(l))) {
		return false
	}
	l.mu.Lock()
	full = !l.ending && l.fullLocked()
	var refused uint64
	if full {
		room := l.roomLocked()
		room.refused++
		refused = room.refused
	}
	l.mu.Unlock()
	if full {
		l.rt.warnings.Warn(l.rt.log, l.Coro.String(), "a mailbox is full; messages from another runtime are refused: "+
			"receive faster, use Deliver or Ask at the sender, or raise Config.MaxMailbox",
			slog.String("coro", l.Coro.String()), slog.Int("limit", l.rt.cfg.MaxMailbox), slog.Uint64("refused", refused))
	}
	return full
}

// send puts msg into the bounded mailbox, waiting for room at most Config.MsgTimeout.
func (l *localCoro) send(msg any) error {
	w, k := l.newWait(msg, waitSend)
	waits, err := l.tryPut(w)
	if !waits {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), l.rt.cfg.MsgTimeout, ErrTimeout)
	defer cancel()
	return l.awaitRoom(ctx, w, k)
}

// sendUntil puts msg into the mailbox, waiting for room until ctx ends when it is bounded.
func (l *localCoro) sendUntil(ctx context.Context, msg any, why string) error {
	if l.rt.cfg.MaxMailbox == 0 {
		return l.put(msg)
	}
	w, k := l.newWait(msg, why)
	waits, err := l.tryPut(w)
	if !waits {
		return err
	}
	return l.awaitRoom(ctx, w, k)
}

// newWait returns a wait for room, and the call that it answers.
func (l *localCoro) newWait(msg any, why string) (*roomWait, *call.Call) {
	k := call.New(why, &l.Coro)
	return &roomWait{msg: msg, to: k}, k
}

// tryPut is putOrWait for a sender of the same runtime, which must not be the coroutine itself: it would wait for ever.
func (l *localCoro) tryPut(w *roomWait) (waits bool, err error) {
	waits, err = l.putOrWait(w)
	if waits && l.g.Load() == turn.GoroutineID() && l.takeBack(w) {
		return false, l.errFull(fmt.Errorf("it sends to itself, and cannot receive meanwhile: %w", ErrRejected))
	}
	return waits, err
}

// awaitRoom waits until w is told, or ctx ends; then it is not sent.
func (l *localCoro) awaitRoom(ctx context.Context, w *roomWait, k *call.Call) error {
	start := time.Now()
	out, err := l.rt.wait(ctx, k)
	if err == nil {
		return out.Err
	}
	if !l.takeBack(w) { // in this moment it was put in, or the coroutine ended
		l.mu.Lock()
		defer l.mu.Unlock()
		if w.in {
			return nil
		}
		return errEnded(&l.Coro)
	}
	if cause := context.Cause(ctx); errors.Is(cause, ErrTimeout) && errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("and has been for %v: %w", time.Since(start).Round(time.Millisecond), cause)
	}
	return l.errFull(err)
}
