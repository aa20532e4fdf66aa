package discoro

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/wire"
)

// dispatch hands a frame to its owner. It runs on the link's reader, or on whoever posts to the runtime itself, and
// never blocks. An error is a breach of the protocol.
func (rt *Runtime) dispatch(l *link, f wire.Frame) error {
	switch f := f.(type) {
	case *wire.Message:
		rt.putMessage(l, f)
	case *wire.Deliver:
		return rt.putDeliver(l, f)
	case *wire.Ask:
		return rt.putAsk(l, f)
	case *wire.Wait:
		return rt.serveWait(l, f)
	case *wire.Exit:
		rt.putExit(l, f)
	case *wire.Terminate:
		if c := rt.coroutine(f.Of); c != nil {
			c.terminate()
		} else {
			rt.stray(l, f, f.Of)
		}
	case *wire.Locate:
		rt.serveLocate(l, f)
	case *wire.Reply:
		if k := l.takeCall(f.Call); k != nil {
			k.Finish(rt.outcomeOf(&f.Outcome, nil))
		}
	case *wire.Cancel:
		if stop := l.unserve(f.Call); stop != nil {
			stop()
		}
	case *wire.Pulse:
		l.heardPulse(time.Duration(f.Every))
	case *wire.Bye: // the reader handles it
	default:
		if mine, err := rt.dispatchChannel(l, f); mine {
			return err
		}
		rt.dispatchRole(l, f)
	}
	return nil
}

func (rt *Runtime) putMessage(l *link, f *wire.Message) {
	c := rt.coroutine(f.To)
	if c != nil && rt.cfg.MaxMailbox > 0 && c.refuse() {
		return
	}
	if c == nil || c.put(l.ownMessage(f.Body)) != nil {
		rt.stray(l, f, f.To)
	}
}

// encodedMessage is a message from another runtime, until Receive decodes it.
type encodedMessage []byte

// ownMessage is an encodedMessage that nobody else has: what is decoded may refer to it.
type ownMessage struct{ body []byte }

// ownMessages are made so many at a time.
const ownMessages = 32

// ownMessage makes a message for a mailbox. The link's reader calls it.
func (l *link) ownMessage(body []byte) *ownMessage {
	if len(l.messages) == 0 {
		l.messages = make([]ownMessage, ownMessages)
	}
	m := &l.messages[0]
	l.messages = l.messages[1:]
	m.body = body
	return m
}

func (rt *Runtime) putDeliver(l *link, f *wire.Deliver) error {
	c := rt.coroutine(f.To)
	switch {
	case c == nil:
		l.reply(f.Call, rt.noCoro(l, f, f.To))
	case rt.cfg.MaxMailbox == 0:
		l.reply(f.Call, call.Outcome{Err: c.put(l.ownMessage(f.Body))})
	default:
		return rt.putWhenRoom(l, c, f)
	}
	return nil
}

// putWhenRoom puts what is to be delivered into a bounded mailbox, now or when there is room, and then replies.
func (rt *Runtime) putWhenRoom(l *link, c *localCoro, f *wire.Deliver) error {
	var s stopper
	if err := l.serve(f.Call, s.stop); err != nil {
		return l.refuseCall(f.Call, err)
	}
	w := &roomWait{msg: encodedMessage(f.Body), size: len(f.Body)}
	w.to = call.Func(func(out call.Outcome) {
		if l.unserve(f.Call) != nil {
			l.reply(f.Call, out)
		}
	})
	if waits, err := c.putOrWait(w); waits {
		s.set(func() { c.takeBack(w) })
	} else {
		w.to.Finish(call.Outcome{Err: err})
	}
	return nil
}

// noCoro is the answer to a call for a coroutine that is not there.
func (rt *Runtime) noCoro(l *link, f wire.Frame, key uint64) call.Outcome {
	rt.stray(l, f, key)
	return call.Outcome{Err: fmt.Errorf("discoro: the coroutine at %v has ended, or there never was one: %w", rt.loc, ErrNotFound)}
}

// stray logs a frame for a coroutine that is not there: one line a peer and 10 s, as a peer may send any number.
func (rt *Runtime) stray(l *link, f wire.Frame, key uint64) {
	if !rt.log.Enabled(rt.ctx, slog.LevelDebug) {
		return
	}
	if more, due := rt.strayFrames.Due(string(l.id[:]), time.Now()); due {
		rt.log.Debug("a frame came for a coroutine that has ended, or never was", slog.Int("kind", int(f.Kind())),
			slog.String("coro", rt.nameOf(rt.self, key)), slog.String("peer", l.location().String()), slog.Int("more", more))
	}
}

// refuseCall answers a call that cannot be served because of err, or reports that err is a breach of the protocol.
func (l *link) refuseCall(id uint64, err error) error {
	if errors.Is(err, errCallTwice) {
		return err
	}
	l.reply(id, call.Outcome{Err: err})
	return nil
}

func (rt *Runtime) putAsk(l *link, f *wire.Ask) error {
	c := rt.coroutine(f.To)
	if c == nil {
		l.reply(f.Call, rt.noCoro(l, f, f.To))
		return nil
	}
	r := &Request{remote: true, body: f.Body, from: c}
	r.answer = func(out call.Outcome) {
		if stop := l.unserve(f.Call); stop != nil {
			stop()
			l.reply(f.Call, out)
		}
	}
	var w stopper
	if err := l.serve(f.Call, w.stop); err != nil {
		return l.refuseCall(f.Call, err)
	}
	ended := c.onEnd(func() { r.fail(errEnded(&c.Coro)) })
	m := &roomWait{msg: r, size: len(f.Body)}
	m.to = call.Func(func(out call.Outcome) {
		if out.Err != nil {
			r.fail(out.Err)
		}
	})
	w.set(func() { ended(); c.takeBack(m) })
	if waits, err := c.putOrWait(m); !waits && err != nil {
		r.fail(err)
	}
	return nil
}

func (rt *Runtime) serveWait(l *link, f *wire.Wait) error {
	c := rt.coroutine(f.Of)
	if c == nil {
		rt.stray(l, f, f.Of)
		l.reply(f.Call, rt.endOf(l, f.Of))
		return nil
	}
	var w stopper
	if err := l.serve(f.Call, w.stop); err != nil {
		return l.refuseCall(f.Call, err)
	}
	w.set(c.onEnd(func() {
		if l.unserve(f.Call) != nil {
			l.reply(f.Call, c.outcomeNow())
		}
	}))
	return nil
}

// stopper is a stop function that may be called before it is known.
type stopper struct {
	mu      sync.Mutex // guards following; leaf
	stopped bool
	f       func()
}

func (s *stopper) set(f func()) {
	s.mu.Lock()
	stopped := s.stopped
	s.f = f
	s.mu.Unlock()
	if stopped {
		f()
	}
}

func (s *stopper) stop() {
	s.mu.Lock()
	f := s.f
	s.stopped = true
	s.mu.Unlock()
	if f != nil {
		f()
	}
}

func (rt *Runtime) serveLocate(l *link, f *wire.Locate) {
	out := call.Outcome{Err: fmt.Errorf("no coroutine of that name at %v: %w", rt.loc, ErrNotFound)}
	if c := rt.named(f.Name); c != nil {
		out = call.Outcome{Value: c}
	}
	l.reply(f.Call, out)
}

// sendExit tells watcher that c has ended.
func (rt *Runtime) sendExit(watcher, c *Coro, out call.Outcome) {
	if watcher.local != nil {
		_ = watcher.local.put(Exit{Coro: c, Err: out.Err, out: out}) // a watcher that has ended does not care
		return
	}
	o, err := encodeOutcome(rt, out)
	if err != nil {
		o = failed(err)
	}
	rt.linkOf(watcher).tell(&wire.Exit{To: watcher.key, Coro: rt.handleValue(c), Outcome: *o})
}

func (rt *Runtime) putExit(l *link, f *wire.Exit) {
	watcher := rt.coroutine(f.To)
	if watcher == nil {
		rt.stray(l, f, f.To)
		return
	}
	c := rt.liveHandle(f.Coro)
	out := rt.outcomeOf(&f.Outcome, c)
	_ = watcher.put(Exit{Coro: c, Err: out.Err, out: out})
}

// open turns what lay in a mailbox into the message.
func (rt *Runtime) open(v any) (any, error) {
	switch v := v.(type) {
	case *ownMessage:
		body := v.body
		v.body = nil // its neighbours may stay for long
		return rt.decodeOwn(body)
	case encodedMessage:
		return rt.decodeMessage(v)
	case *Request:
		if v.remote && v.body != nil {
			msg, err := rt.decodeOwn(v.body)
			if err != nil {
				v.fail(err)
				return nil, err
			}
			v.Msg, v.body = msg, nil
		}
		return v, nil
	}
	return v, nil
}

// buildInfo says what program this is.
func buildInfo() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return runtime.Version()
	}
	text := info.Path
	if v := info.Main.Version; v != "" && v != "(devel)" {
		text += "@" + v
	}
	return strings.TrimSpace(text + " " + info.GoVersion)
}
