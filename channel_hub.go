package discoro

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/wire"
)

// Bounds of what a peer can make a channel hold, beside what it publishes (see [flow]).
const (
	// maxSubscribed is how many coroutines of one peer may be subscribed to a channel, and how many of this runtime to
	// channels of one peer.
	maxSubscribed = 1 << 16
	// publishCost is what a message counts beside its bytes.
	publishCost = 64
	// maxErrs is how many different errors of subscribers a sender is told.
	maxErrs = 4
)

// hub is a channel of this runtime: who is subscribed, and what waits for more. Nothing in it blocks.
type hub struct {
	rt *Runtime // immutable
	ch *Channel // immutable: the handle

	mu     sync.Mutex // guards following; leaf
	closed bool
	subs   map[subKey]*subscriber
	order  []*subscriber  // the same, in any order
	waits  []*publication // for more subscribers
	peers  map[*link]*hubPeer
}

// subKey names a subscriber.
type subKey struct {
	link *link  // to its runtime; nil: it is of this one
	num  uint64 // its key there; of one of this runtime its number
}

// hubPeer is what a peer has of a channel.
type hubPeer struct {
	subs     int
	sends    int // bytes that it has sent, and that wait
	delivers int // likewise, to be delivered
}

// add subscribes a coroutine: local, or one behind a link.
func (h *hub) add(local *localCoro, l *link, num uint64) error {
	s := &subscriber{hub: h, local: local, key: subKey{l, num}}
	h.mu.Lock()
	switch {
	case h.closed:
		h.mu.Unlock()
		return h.errClosed()
	case h.subs[s.key] != nil:
		h.mu.Unlock()
		return fmt.Errorf("it is subscribed already: %w", ErrExists)
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
		if s.watch(); s.isGone() {
			return errEnded(&local.Coro)
		}
	} else if err := l.cause(); err != nil { // its end may have been seen to before this one was there
		s.drop(err)
		return err
	}
	h.wakeWaits()
	return nil
}

// take removes a subscriber; it returns nil when it is not subscribed.
func (h *hub) take(key subKey) *subscriber {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.subs[key]
	if s != nil {
		h.takeLocked(s)
	}
	return s
}

func (h *hub) takeLocked(s *subscriber) {
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

// remove takes back add. ErrNotFound: it is not subscribed.
func (h *hub) remove(key subKey) error {
	s := h.take(key)
	if s == nil {
		h.mu.Lock()
		closed := h.closed
		h.mu.Unlock()
		if closed {
			return h.errClosed()
		}
		return fmt.Errorf("it is not subscribed: %w", ErrNotFound)
	}
	s.end(nil)
	return nil
}

// lose drops what a link's end ends.
func (h *hub) lose(l *link, err error) {
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

// close ends the channel; it reports false when it was closed before.
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
		if h.take(s.key) != nil {
			s.close()
		}
	}
	return true
}

func (h *hub) errClosed() error {
	return fault.New("the channel is closed", ErrClosed)
}

// count returns how many are subscribed.
func (h *hub) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.order)
}

// publication is one message on its way to the subscribers.
type publication struct {
	hub     *hub                   // immutable
	msg     any                    // immutable: what goes into mailboxes of this runtime
	body    []byte                 // owned by who hands it out: what goes to others; shared, nobody writes to it
	bodyErr error                  // owned by who hands it out: why there is no body
	deliver bool                   // immutable: done only when others have said that it is in their mailboxes
	atLeast int                    // immutable: it waits for so many subscribers
	from    *link                  // immutable: whence it came; nil: from this runtime
	done    func(n int, err error) // immutable: called once; never blocks

	mu   sync.Mutex // guards following; leaf
	left int        // subscribers that have not got it; one more while it is being handed out
	n    int        // mailboxes it is in, or on a link to
	errs []error
	more int  // errors beside these
	over bool // done was called, or nobody waits for it any longer
}

// publish hands p to the subscribers, or has it wait for more.
func (h *hub) publish(p *publication) {
	h.mu.Lock()
	var err error
	var subs []*subscriber
	waits, encode := false, false
	switch {
	case h.closed:
		err = h.errClosed()
	case !h.admitLocked(p):
		err = fmt.Errorf("more waits from this peer than it may have waiting: %w", ErrRejected)
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
	case encode: // whoever subscribes hands it out, and must not run users' code for that
		p.encode()
		h.publish(p)
	case !waits:
		p.handOut(subs)
	}
}

// wakeWaits hands out what waits for no more subscribers than there are.
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

// admitLocked books what p takes of what its peer may have waiting.
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

// release gives back what admitLocked booked.
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

func (h *hub) peerLocked(l *link) *hubPeer {
	peer := h.peers[l]
	if peer == nil {
		peer = &hubPeer{}
		h.peers[l] = peer
	}
	return peer
}

// tidyLocked forgets a peer that has nothing of the channel.
func (h *hub) tidyLocked(l *link) {
	if *h.peers[l] == (hubPeer{}) {
		delete(h.peers, l)
	}
}

func (p *publication) size() int { return len(p.body) + publishCost }

// handOut gives p to each of subs.
func (p *publication) handOut(subs []*subscriber) {
	if slices.ContainsFunc(subs, func(s *subscriber) bool { return s.local == nil }) {
		if p.encode(); p.bodyErr != nil {
			p.refuse(p.bodyErr)
			return
		}
	}
	p.mu.Lock()
	over := p.over
	p.left = len(subs) + 1
	p.mu.Unlock()
	if over {
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

// result books what became of p at one subscriber.
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
	done := p.left == 0 && !p.over
	if done {
		p.over = true
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

// refuse ends p, which nobody gets.
func (p *publication) refuse(err error) {
	if p.end() {
		p.hub.release(p)
		p.done(0, err)
	}
}

// cancel lets go of p, for which nobody waits any longer. What is on its way arrives. It returns how many mailboxes p is in, and what
// is missing.
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

// end reports whether p was not over yet, which it is now.
func (p *publication) end() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	first := !p.over
	p.over = true
	return first
}

// logDropped says that a subscriber was too slow: one line a channel and peer, and 10 s.
func (h *hub) logDropped(s *subscriber, err error) {
	h.rt.warnings.Warn(h.rt.log, h.ch.String()+" "+s.key.link.location().String(), "a channel's subscriber was dropped: its link has no room", slog.String("channel", h.ch.String()),
		slog.String("coro", h.rt.nameOf(s.key.link, s.key.num)), slog.String("peer", s.key.link.location().String()), slog.Any("err", err))
}

// noticeOf is the frame that tells a subscriber's runtime that it is dropped.
func (h *hub) noticeOf(s *subscriber, err error) wire.Frame {
	return &wire.Dropped{Channel: h.ch.key, Coro: s.key.num, Err: encodeError(err)}
}
