package discoro

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/wire"
)

// channelTable holds a runtime's own channels, the handles of all channels that it knows, and its
// coroutines that are subscribed in other runtimes.
type channelTable struct {
	mu       sync.Mutex // guards following; leaf
	closed   bool
	last     uint64          // the last channel's number
	keys     rand.Source     // of the channels' keys; made with the first channel
	hubs     map[uint64]*hub // by the channel's key
	names    map[string]*Channel
	handles  handleTable[Channel]
	members  map[*link.Link]map[memberKey]*member
	dialling int // subscriptions asked for by peers that wait for a link
}

// memberKey names a coroutine of this runtime that is subscribed to a channel of a peer, by the
// keys of both.
type memberKey struct{ channel, coro uint64 }

// member is a coroutine of this runtime that is subscribed to a channel of another one.
type member struct {
	mu    sync.Mutex // guards following; leaf
	ended bool
	stop  func() // ends the watch of the coroutine; nil: not watched yet
}

// maxDialling limits the subscriptions of peers that wait for a link to the channel's runtime. Each
// makes this runtime dial an address that a peer names.
const maxDialling = 64

// add enters a new channel of this runtime. It reports false when the runtime is closed.
func (t *channelTable) add(ch *Channel) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.last++
	ch.seq = t.last
	ch.hub = &hub{rt: ch.rt, ch: ch, subs: map[subKey]*subscriber{}, peers: map[*link.Link]*hubPeer{}}
	if t.hubs == nil {
		t.hubs = map[uint64]*hub{}
		t.keys = newKeys()
	}
	ch.key = drawKey(t.keys, func(key uint64) bool {
		return t.handles.takenLocked(handleKey{ch.home, key}) || t.hubs[key] != nil
	})
	t.hubs[ch.key] = ch.hub
	t.handles.keepLocked(&t.mu, handleKey{ch.home, ch.key}, ch)
	return true
}

// handle returns the runtime's one handle of a channel.
func (t *channelTable) handle(rt *Runtime, hv wire.HandleValue) *Channel {
	key := handleKey{hv.ID, hv.Key}
	t.mu.Lock()
	defer t.mu.Unlock()
	if ch := t.handles.getLocked(key); ch != nil {
		return ch
	}
	ch := &Channel{
		rt: rt, home: hv.ID, loc: Location{Addr: hv.Host, Port: hv.Port}, seq: hv.Seq, key: hv.Key, name: hv.Name,
	}
	t.handles.keepLocked(&t.mu, key, ch)
	return ch
}

// known returns the handle of a channel, nil when nobody holds one.
func (t *channelTable) known(key handleKey) *Channel {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.handles.getLocked(key)
}

// nameOf returns the name in logs for a channel that a frame names.
func (t *channelTable) nameOf(key handleKey) string {
	if ch := t.known(key); ch != nil {
		return ch.String()
	}
	return "unknown"
}

// find returns an open channel of this runtime. For an unknown key the error wraps ErrClosed and
// ErrNotFound. A peer with an unknown key has usually the handle of a closed channel, and the table
// keeps nothing of closed channels.
func (t *channelTable) find(key uint64) (*hub, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h := t.hubs[key]; h != nil {
		return h, nil
	}
	return nil, fault.New("the channel is closed, or there never was one", ErrClosed, ErrNotFound)
}

// close closes a channel and forgets it.
func (t *channelTable) close(h *hub) {
	t.mu.Lock()
	delete(t.hubs, h.ch.key)
	maps.DeleteFunc(t.names, func(_ string, ch *Channel) bool { return ch == h.ch })
	t.mu.Unlock()
	h.close()
}

// closeAll closes every channel, when the runtime's links have ended.
func (t *channelTable) closeAll() {
	t.mu.Lock()
	t.closed = true
	hubs := slices.Collect(maps.Values(t.hubs))
	t.mu.Unlock()
	for _, h := range hubs {
		t.close(h)
	}
}

// register is Channel.Register.
func (t *channelTable) register(ch *Channel, name string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	other := t.names[name]
	switch {
	case t.hubs[ch.key] == nil:
		return fmt.Errorf("the channel is closed: %w", ErrClosed)
	case other != nil && other != ch:
		return fmt.Errorf("the name is that of %v: %w", other, ErrExists)
	case t.names == nil:
		t.names = map[string]*Channel{}
	}
	t.names[name] = ch
	return nil
}

// unregister is Channel.Unregister. It reports false when the name is not ch's.
func (t *channelTable) unregister(ch *Channel, name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	found := t.names[name] == ch
	if found {
		delete(t.names, name)
	}
	return found
}

// named returns the channel that is registered under name, nil when there is none.
func (t *channelTable) named(name string) *Channel {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.names[name]
}

// linkDown ends all subscriptions over a link that has ended.
func (t *channelTable) linkDown(l *link.Link, err error) {
	t.mu.Lock()
	hubs := slices.Collect(maps.Values(t.hubs))
	members := t.members[l]
	delete(t.members, l)
	t.mu.Unlock()
	for _, h := range hubs {
		h.lose(l, err)
	}
	for _, m := range members {
		m.end()
	}
}

// join enters a coroutine that is subscribed to a channel behind l, until the coroutine ends.
func (t *channelTable) join(l *link.Link, c *localCoro, key memberKey) {
	m := &member{}
	t.mu.Lock()
	if t.members == nil {
		t.members = map[*link.Link]map[memberKey]*member{}
	}
	if t.members[l] == nil {
		t.members[l] = map[memberKey]*member{}
	}
	t.members[l][key] = m
	t.mu.Unlock()
	stop := c.onEnd(func() {
		if t.leave(l, key, m) {
			l.Tell(&wire.Unsubscribe{Channel: key.channel, Coro: key.coro})
		}
	})
	m.mu.Lock()
	ended := m.ended
	m.stop = stop
	m.mu.Unlock()
	if ended {
		stop()
	}
	if l.Cause() != nil { // linkDown may have run before the member was there
		t.leave(l, key, m)
	}
}

// leave undoes join. It reports false when that was done before. A nil m stands for any member with
// that key.
func (t *channelTable) leave(l *link.Link, key memberKey, m *member) bool {
	t.mu.Lock()
	there := t.members[l][key]
	found := there != nil && (m == nil || m == there)
	if found {
		delete(t.members[l], key)
		if len(t.members[l]) == 0 {
			delete(t.members, l)
		}
	}
	t.mu.Unlock()
	if found {
		there.end()
	}
	return found
}

// mayJoin reports whether one more coroutine may be subscribed to channels behind l.
func (t *channelTable) mayJoin(l *link.Link) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.members[l]) < maxSubscribed
}

// dial counts a subscription that waits for a link. It reports false when too many do. done ends
// the count.
func (t *channelTable) dial() (done func(), ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dialling >= maxDialling {
		return nil, false
	}
	t.dialling++
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.dialling--
	}, true
}

// end ends the watch of the coroutine.
func (m *member) end() {
	m.mu.Lock()
	m.ended = true
	stop := m.stop
	m.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// handleValue returns what travels of a channel's handle.
func (ch *Channel) handleValue() wire.HandleValue {
	return wire.HandleValue{ID: ch.home, Host: ch.loc.Addr, Port: ch.loc.Port, Key: ch.key, Seq: ch.seq, Name: ch.name}
}

// liveChannel returns the runtime's one handle of the channel that hv names.
func (rt *Runtime) liveChannel(hv wire.HandleValue) *Channel {
	return rt.channels.handle(rt, hv)
}

// encodeChannel and decodeChannel carry the handle of a channel inside users' values.
func encodeChannel(v, _ any) (wire.HandleValue, error) {
	ch, _ := v.(*Channel)
	return ch.handleValue(), nil
}

func decodeChannel(hv wire.HandleValue, ctx any) (any, error) {
	rt, ok := ctx.(*Runtime)
	if !ok || rt == nil {
		return nil, errors.New("a channel's handle can only be decoded by a runtime")
	}
	return rt.liveChannel(hv), nil
}

// putDropped ends a subscription that the channel's owner has ended. With Coro 0 it notes the error
// of a message that was published to the channel.
func (rt *Runtime) putDropped(l *link.Link, f *wire.Dropped) {
	err := values.Error(f.Err)
	if f.Coro == 0 {
		if ch := rt.channels.known(handleKey{l.ID, f.Channel}); ch != nil {
			ch.flow.fail(err)
		}
		return
	}
	if rt.channels.leave(l, memberKey{f.Channel, f.Coro}, nil) && err != nil && !errors.Is(err, ErrClosed) {
		rt.log.Warn("a coroutine was unsubscribed from a channel", slog.String("coro", rt.nameOf(rt.net.Self, f.Coro)),
			slog.String("channel", rt.channels.nameOf(handleKey{l.ID, f.Channel})),
			slog.String("peer", l.Location().String()), slog.Any("err", err))
	}
}
