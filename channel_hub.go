package discoro

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/wire"
)

// Bounds of the memory that a peer can make a channel use, besides published messages (see [flow]).
const (
	// maxSubscribed is how many coroutines of one peer may be subscribed to a channel, and how many
	// coroutines of this runtime to the channels of one peer.
	maxSubscribed = 1 << 16
	// publishCost is what each message counts in addition to its bytes.
	publishCost = 64
	// maxErrs is how many different errors of subscribers a sender gets.
	maxErrs = 4
)

// hub is a channel of this runtime: its subscribers, and the messages that wait for more
// subscribers. Nothing in it blocks, because a link's reader may be the caller.
type hub struct {
	rt *Runtime // immutable
	ch *Channel // immutable: the handle

	mu     sync.Mutex // guards following; leaf
	closed bool
	subs   map[subKey]*subscriber
	order  []*subscriber  // the same, in any order
	waits  []*publication // they wait for more subscribers
	peers  map[*link.Link]*hubPeer
}

// subKey names a subscriber.
type subKey struct {
	link *link.Link // to its runtime; nil: it runs in this one
	num  uint64     // its key there; its number when it runs in this runtime
}

// hubPeer counts what a channel holds for a peer.
type hubPeer struct {
	subs     int // coroutines that are subscribed
	sends    int // bytes that it has sent, and that wait
	delivers int // bytes that it has sent by Deliver, and that wait
}

// subscribe subscribes a coroutine of this runtime, or one behind a link.
func (h *hub) subscribe(local *localCoro, l *link.Link, num uint64) error {
	s := &subscriber{hub: h, local: local, key: subKey{l, num}}
	h.mu.Lock()
	switch {
	case h.closed:
		h.mu.Unlock()
		return h.errClosed()
	case h.subs[s.key] != nil:
		h.mu.Unlock()
		return fmt.Errorf("the coroutine is subscribed already: %w", ErrExists)
	case l != nil && h.peerLocked(l).subs >= maxSubscribed:
		h.mu.Unlock()
		return fmt.Errorf("%d coroutines of this peer are subscribed already, no more may be: %w", maxSubscribed, ErrRejected)
	}
	if l != nil {
		h.peerLocked(l).subs++
	}
	h.subs[s.key], s.at = s, len(h.order)
	h.order = append(h.order, s)
	h.mu.Unlock()

	if local != nil {
		if s.watch(); s.hasEnded() {
			return errEnded(&local.Coro)
		}
	} else if err := l.Cause(); err != nil { // lose may have run before the subscriber was there
		s.drop(err)
		return err
	}
	h.wakeWaits()
	return nil
}

// remove removes a subscriber. It returns nil when there is no such subscriber.
func (h *hub) remove(key subKey) *subscriber {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.subs[key]
	if s != nil {
		h.removeLocked(s)
	}
	return s
}

func (h *hub) removeLocked(s *subscriber) {
	delete(h.subs, s.key)
	last := len(h.order) - 1
	h.order[s.at] = h.order[last]
	h.order[s.at].at = s.at
	h.order[last] = nil
	h.order = h.order[:last]
	if l := s.key.link; l != nil {
		h.peerLocked(l).subs--
		h.tidyLocked(l)
	}
}

// unsubscribe undoes subscribe. ErrNotFound: the coroutine is not subscribed.
func (h *hub) unsubscribe(key subKey) error {
	s := h.remove(key)
	if s == nil {
		h.mu.Lock()
		closed := h.closed
		h.mu.Unlock()
		if closed {
			return h.errClosed()
		}
		return fmt.Errorf("the coroutine is not subscribed: %w", ErrNotFound)
	}
	s.end(nil)
	return nil
}

// lose unsubscribes the coroutines behind a link that has ended.
func (h *hub) lose(l *link.Link, err error) {
	h.mu.Lock()
	var lost []*subscriber
	if h.peers[l] != nil {
		for _, s := range h.order {
			if s.key.link == l {
				lost = append(lost, s)
			}
		}
	}
	h.mu.Unlock()
	for _, s := range lost {
		s.drop(err)
	}
}

// close ends the channel. It reports false when the channel was closed before.
func (h *hub) close() bool {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return false
	}
	h.closed = true
	subs, waits := slices.Clone(h.order), h.waits
	h.waits = nil
	h.mu.Unlock()
	for _, p := range waits {
		p.refuse(h.errClosed())
	}
	for _, s := range subs {
		if h.remove(s.key) != nil {
			s.close()
		}
	}
	return true
}

func (h *hub) errClosed() error {
	return fault.New("the channel is closed", ErrClosed)
}

// count returns how many coroutines are subscribed.
func (h *hub) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.order)
}

// publication is one message on its way to the subscribers.
type publication struct {
	hub     *hub                   // immutable
	msg     any                    // immutable: what goes into mailboxes of this runtime
	body    []byte                 // owned by whoever calls handOut: msg encoded; never written to
	bodyErr error                  // owned by whoever calls handOut: why there is no body
	deliver bool                   // immutable: it is done when it is in the mailboxes, elsewhere too
	atLeast int                    // immutable: it waits for that many subscribers
	from    *link.Link             // immutable: the link that it came over; nil: from this runtime
	done    func(n int, err error) // immutable: called once; never blocks

	mu    sync.Mutex // guards following; leaf
	left  int        // subscribers without a result; one more while it is being handed out
	n     int        // mailboxes that it is in, or on a link to
	errs  []error
	more  int  // errors besides these
	ended bool // done was called, or nobody waits for that any longer
}

// publish hands p out to the subscribers, or makes it wait for more of them.
func (h *hub) publish(p *publication) {
	h.mu.Lock()
	var err error
	var subs []*subscriber
	waits, encode := false, false
	switch {
	case h.closed:
		err = h.errClosed()
	case !h.admitLocked(p):
		err = fmt.Errorf("too many bytes from this peer wait for subscribers already: %w", ErrRejected)
	case p.atLeast > len(h.order):
		waits = true
		if encode = p.from == nil && p.body == nil && p.bodyErr == nil; !encode {
			h.waits = append(h.waits, p)
		}
	default:
		subs = slices.Clone(h.order)
	}
	h.mu.Unlock()
	switch {
	case err != nil:
		p.done(0, err)
	case encode: // a subscribe hands it out later, and must not run users' code
		p.encode()
		h.publish(p)
	case !waits:
		p.handOut(subs)
	}
}

// wakeWaits hands out the messages that now have enough subscribers.
func (h *hub) wakeWaits() {
	h.mu.Lock()
	var ready []*publication
	n := len(h.order)
	h.waits = slices.DeleteFunc(h.waits, func(p *publication) bool {
		if p.atLeast <= n {
			ready = append(ready, p)
		}
		return p.atLeast <= n
	})
	var subs []*subscriber
	if len(ready) > 0 {
		subs = slices.Clone(h.order)
	}
	h.mu.Unlock()
	for _, p := range ready {
		p.handOut(subs)
	}
}

// admitLocked counts p against the bytes that its peer may have waiting. It reports false when
// there is no room.
func (h *hub) admitLocked(p *publication) bool {
	if p.from == nil {
		return true
	}
	peer := h.peerLocked(p.from)
	held := &peer.sends
	if p.deliver {
		held = &peer.delivers
	}
	if *held > 0 && *held+p.size() > 4*flowWindow+h.rt.cfg.MaxMessage {
		return false
	}
	*held += p.size()
	return true
}

// release undoes admitLocked.
func (h *hub) release(p *publication) {
	if p.from == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	peer := h.peerLocked(p.from)
	if p.deliver {
		peer.delivers -= p.size()
	} else {
		peer.sends -= p.size()
	}
	h.tidyLocked(p.from)
}

func (h *hub) peerLocked(l *link.Link) *hubPeer {
	peer := h.peers[l]
	if peer == nil {
		peer = &hubPeer{}
		h.peers[l] = peer
	}
	return peer
}

// tidyLocked forgets a peer for which the channel holds nothing.
func (h *hub) tidyLocked(l *link.Link) {
	if *h.peers[l] == (hubPeer{}) {
		delete(h.peers, l)
	}
}

func (p *publication) size() int { return len(p.body) + publishCost }

// handOut sends p to each of subs.
func (p *publication) handOut(subs []*subscriber) {
	if slices.ContainsFunc(subs, func(s *subscriber) bool { return s.local == nil }) {
		if p.encode(); p.bodyErr != nil {
			p.refuse(p.bodyErr)
			return
		}
	}
	p.mu.Lock()
	ended := p.ended
	p.left = len(subs) + 1
	p.mu.Unlock()
	if ended {
		return
	}
	for _, s := range subs {
		s.send(p)
	}
	p.result(false, nil)
}

// encode makes the body, once.
func (p *publication) encode() {
	if p.body == nil && p.bodyErr == nil {
		p.body, p.bodyErr = p.hub.rt.encodeMessage(p.msg)
	}
}

// result records the result of p for one subscriber. The last result ends p.
func (p *publication) result(reached bool, err error) {
	p.mu.Lock()
	p.left--
	if reached {
		p.n++
	}
	switch {
	case err == nil:
	case len(p.errs) < maxErrs && !slices.ContainsFunc(p.errs, func(e error) bool { return e.Error() == err.Error() }):
		p.errs = append(p.errs, err)
	default:
		p.more++
	}
	done := p.left == 0 && !p.ended
	if done {
		p.ended = true
	}
	n, errs := p.n, p.errs
	if done && p.more > 0 {
		errs = append(errs, fmt.Errorf("and likewise %d other subscribers", p.more))
	}
	p.mu.Unlock()
	if done {
		p.hub.release(p)
		p.done(n, errors.Join(errs...))
	}
}

// refuse ends p with err. No subscriber gets it.
func (p *publication) refuse(err error) {
	if p.end() {
		p.hub.release(p)
		p.done(0, err)
	}
}

// cancel ends p when its sender no longer waits. Messages that are on their way still arrive.
// cancel returns the number of mailboxes that p is in, and a text that says what is missing.
func (p *publication) cancel() (reached int, missing string) {
	h := p.hub
	h.mu.Lock()
	there, waits := len(h.order), len(h.waits)
	h.waits = slices.DeleteFunc(h.waits, func(other *publication) bool { return other == p })
	waited := len(h.waits) < waits
	h.mu.Unlock()
	if p.end() {
		h.release(p)
	}
	if waited {
		return 0, fmt.Sprintf("there are %d of %d subscribers", there, p.atLeast)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n, fmt.Sprintf("%d of %d subscribers have it", p.n, p.n+p.left)
}

// end ends p. It reports false when p had ended before.
func (p *publication) end() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	first := !p.ended
	p.ended = true
	return first
}

// logDropped logs that a subscriber was too slow, in one line for each channel and peer in 10 s.
func (h *hub) logDropped(s *subscriber, err error) {
	peer := s.key.link.Location().String()
	h.rt.warnings.Warn(h.rt.log, h.ch.String()+" "+peer, "a channel's subscriber was dropped: its link has no room",
		slog.String("channel", h.ch.String()), slog.String("coro", h.rt.nameOf(s.key.link, s.key.num)),
		slog.String("peer", peer), slog.Any("err", err))
}

// noticeOf returns the frame that notifies a subscriber's runtime of the end of the subscription.
func (h *hub) noticeOf(s *subscriber, err error) wire.Frame {
	return &wire.Dropped{Channel: h.ch.key, Coro: s.key.num, Err: encodeError(err)}
}
