package discoro

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/wire"
)

// PeerStatus is what a watcher of peers receives when the link to another runtime comes up or ends.
type PeerStatus struct {
	Location Location // of the peer, as it announces it
	Name     string   // of the peer
	Online   bool     // there is a link to it
	Err      error    // why the link ended, ErrDisconnected to errors.Is; nil while Online
}

// String returns a line for people.
func (s PeerStatus) String() string {
	text := s.Name + "@" + s.Location.String()
	switch {
	case s.Online:
		return text + " is online"
	case s.Err == nil:
		return text + " is offline"
	}
	return text + " is offline: " + s.Err.Error()
}

// WatchPeers makes watcher receive a [PeerStatus] for every runtime that has a link to this one now, and
// then for every change: each once, in the order in which they happen. The end of a link comes before
// the next link to the same runtime. WatchPeers never blocks.
//
// The watcher may be a coroutine of any runtime. The watch ends with the watcher, with the link to
// the watcher's runtime, and when more than 65536 changes wait to be sent there. In the last case
// the log has a line. WatchPeers does nothing when watcher is nil or watches already.
func (rt *Runtime) WatchPeers(watcher *Coro) {
	if watcher == nil || watcher.rt == nil {
		return
	}
	if watcher.local == nil && watcher.rt != rt { // a handle of another runtime in this process
		watcher = rt.liveHandle(watcher.rt.handleValue(watcher))
	}
	w := &peerWatch{rt: rt, to: watcher}
	if watcher.local == nil {
		w.link = rt.linkOf(watcher)
	}
	if !rt.watches.add(w) {
		return
	}
	w.flush()
	if w.link == nil {
		watcher.local.onEnd(w.end)
		return
	}
	rt.start(w.awaitEnd)
}

// maxPeerNews is how many changes may wait to be sent to one watcher of another runtime.
const maxPeerNews = 1 << 16

// peerWatches are a runtime's watchers, and the peers that are online. A change goes into the queue
// of every watch under one lock. One sender for each watch empties its queue without the lock, so
// that a slow watcher does not hold up the others.
type peerWatches struct {
	mu     sync.Mutex // guards following, and the items of each watch; leaf
	online map[*link.Link]PeerStatus
	of     map[*Coro]*peerWatch
}

// peerWatch is one watcher.
type peerWatch struct {
	rt    *Runtime     // immutable
	to    *Coro        // immutable
	link  *link.Link   // immutable: to its runtime; nil: it runs in this process
	items []PeerStatus // guarded by peerWatches.mu, as are the next two: changes to be sent
	busy  bool         // a sender is at work
	full  bool         // too many changes wait: the watch ends
}

// add starts a watch with the peers that are online now. It returns false when the watcher has a watch already.
func (ws *peerWatches) add(w *peerWatch) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.of[w.to] != nil {
		return false
	}
	w.items = slices.SortedFunc(maps.Values(ws.online), func(a, b PeerStatus) int {
		return cmp.Or(compareLocations(a.Location, b.Location), cmp.Compare(a.Name, b.Name))
	})
	if ws.of == nil {
		ws.of = map[*Coro]*peerWatch{}
	}
	ws.of[w.to] = w
	return true
}

// notify sends all watchers that l has come up or, with err, that it was up and has ended. It never
// blocks. The caller calls it in the order of the changes.
func (ws *peerWatches) notify(l *link.Link, err error) {
	peer, _ := l.Peer()
	s := PeerStatus{Location: Location(l.Location()), Name: peer.Name, Online: err == nil, Err: err}
	ws.mu.Lock()
	if s.Online {
		if ws.online == nil {
			ws.online = map[*link.Link]PeerStatus{}
		}
		ws.online[l] = s
	} else {
		delete(ws.online, l)
	}
	watches := slices.Collect(maps.Values(ws.of))
	for _, w := range watches {
		w.items = append(w.items, s)
		w.full = w.full || w.link != nil && len(w.items) > maxPeerNews
	}
	ws.mu.Unlock()
	for _, w := range watches {
		w.flush()
	}
}

// take removes and returns the changes to be sent. When it returns none, the caller stops being the sender.
func (ws *peerWatches) take(w *peerWatch) (items []PeerStatus, full bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.of[w.to] == w {
		items = w.items
	}
	w.items = nil
	w.busy = len(items) > 0
	return items, w.full
}

// flush sends what waits, unless a sender is at work. It never blocks: a goroutine sends what goes to
// another runtime.
func (w *peerWatch) flush() {
	ws := &w.rt.watches
	ws.mu.Lock()
	send := !w.busy && len(w.items) > 0
	w.busy = w.busy || send
	ws.mu.Unlock()
	switch {
	case !send:
	case w.link == nil:
		w.send()
	default:
		w.rt.start(w.send)
	}
}

// send sends what waits, and what is added meanwhile, in order.
func (w *peerWatch) send() {
	out := notices{to: w.to, link: w.link}
	for {
		items, full := w.rt.watches.take(w)
		if len(items) == 0 {
			return
		}
		var err error
		for i := 0; i < len(items) && err == nil; i++ {
			if err = out.send(w.rt.ctx, items[i]); err == nil && full {
				err = fmt.Errorf("more than %d changes wait for it", maxPeerNews)
			}
		}
		if err == nil {
			err = out.await(w.rt.ctx)
		}
		if err != nil {
			w.drop(err)
		}
	}
}

// awaitEnd ends the watch when its watcher, which is in another runtime, ends, or the link there does.
func (w *peerWatch) awaitEnd() {
	wait := func(call uint64) wire.Frame { return &wire.Wait{Call: call, Of: w.to.key} }
	err := w.link.WaitRoom(w.rt.ctx, wait(0)) // this may block for long
	if err == nil {
		_, err = w.link.Ask(call.Func(func(call.Outcome) { w.end() }), wait)
	}
	if err != nil {
		w.drop(err)
	}
}

// drop ends the watch because of err.
func (w *peerWatch) drop(err error) {
	w.rt.log.Log(w.rt.ctx, noticeLevel(err), "a watch of peers has ended",
		slog.String("coro", w.to.String()), slog.Any("err", err))
	w.end()
}

// end ends the watch.
func (w *peerWatch) end() {
	ws := &w.rt.watches
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.of[w.to] == w {
		delete(ws.of, w.to)
	}
}

// notices sends messages to one coroutine that has not asked for each of them: statuses, and
// changes of peers. To a coroutine of this runtime they go into its mailbox, even a full one. To a
// coroutine of another runtime they are delivered, which waits for room in the mailbox. A plain
// send could be refused there, and the sender would not learn of that. One goroutine at a time uses
// it.
type notices struct {
	to   *Coro      // immutable
	link *link.Link // immutable: to its runtime; nil: whichever link there is
	last *call.Call // the last notice under way; nil: none is
	size int        // bytes of the notices under way
}

// noticeWindow is how many bytes of notices may be under way. A larger notice goes alone. Each counts
// publishCost in addition.
const noticeWindow = 64 << 10

// send sends msg. To a coroutine of another runtime it waits for earlier notices, and for room in the
// link's queue, until ctx ends. An error may be that of an earlier notice.
func (n *notices) send(ctx context.Context, msg any) error {
	c := n.to
	if c.local != nil {
		return c.local.put(msg)
	}
	if exit, ok := msg.(Exit); ok { // it needs no room, so it would overtake the notices under way
		err := n.await(ctx)
		c.rt.sendExit(c, exit.Coro, exit.out)
		return err
	}
	body, err := c.rt.encodeMessage(msg)
	if err != nil {
		return err
	}
	size := len(body) + publishCost
	if n.size+size > noticeWindow {
		if err := n.await(ctx); err != nil {
			return err
		}
	}
	return n.deliver(ctx, body, size)
}

// deliver queues an encoded notice behind those under way. size is what the notice counts.
func (n *notices) deliver(ctx context.Context, body []byte, size int) error {
	l := n.link
	if l == nil {
		l = n.to.rt.linkOf(n.to)
	}
	build := func(call uint64) wire.Frame { return &wire.Deliver{Call: call, To: n.to.key, Body: body} }
	if err := l.WaitRoom(ctx, build(0)); err != nil {
		return err
	}
	before, k := n.last, call.New(waitDeliver, n.to)
	n.last, n.size = k, n.size+size
	_, err := l.Ask(call.Func(func(out call.Outcome) { finishBehind(before, k, out.Err) }), build)
	if err != nil {
		n.last, n.size = nil, 0
	}
	return err
}

// finishBehind finishes k with err. If err is nil, it uses the error of the notice before, which
// has its answer by now, or never gets one.
func finishBehind(before, k *call.Call, err error) {
	if before != nil && err == nil {
		first, _ := before.Result()
		err = first.Err
	}
	k.Finish(call.Outcome{Err: err})
}

// await waits until the notices under way are in the mailbox.
func (n *notices) await(ctx context.Context) error {
	if n.last == nil {
		return nil
	}
	out, err := n.to.rt.wait(ctx, n.last)
	n.last, n.size = nil, 0
	if err == nil {
		err = out.Err
	}
	return err
}

// noticeLevel returns the level at which to log that a coroutine does not receive a notice, because
// of err. The level is low when the coroutine or its runtime has ended.
func noticeLevel(err error) slog.Level {
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDisconnected) || errors.Is(err, context.Canceled) {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}
