package discoro

import (
	"fmt"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/wire"
)

// maxNear bounds how many schedulers wait for one search.
const maxNear = 64

// nearCall is a scheduler that waits for the nodes near this one.
type nearCall struct {
	from *link
	call uint64
}

// near looks for the nodes of the local network, for a scheduler elsewhere. All who ask meanwhile get the same answer.
func (l *nodeLoop) near(from *link, f *wire.Near) {
	switch {
	case l.schedulers[from.id] != from:
		from.reply(f.Call, call.Outcome{Err: fmt.Errorf("discoro: it is no scheduler that asks: %w", ErrRejected)})
		return
	case l.rt.discovery == nil:
		from.reply(f.Call, call.Outcome{Err: fmt.Errorf("discoro: discovery is off at the node %v: %w", l.rt.loc, ErrRejected)})
		return
	case len(l.nearby) >= maxNear:
		from.reply(f.Call, call.Outcome{Err: fmt.Errorf("discoro: %d schedulers ask the node %v at once: %w", maxNear, l.rt.loc, ErrRejected)})
		return
	}
	l.nearby = append(l.nearby, nearCall{from, f.Call})
	if len(l.nearby) > 1 {
		return
	}
	l.rt.start(func() {
		err := l.rt.discovery.discover(l.rt.ctx)
		l.asks.Put(func(l *nodeLoop) { l.answerNear(err) })
	})
}

// answerNear answers those who wait, when a search has ended.
func (l *nodeLoop) answerNear(err error) {
	nodes := []string{}
	for _, link := range l.rt.allLinks() {
		if peer, up := link.isUp(); up && peer.Roles&roleNode != 0 {
			nodes = append(nodes, link.location().String())
		}
	}
	for _, c := range l.nearby {
		if err != nil {
			c.from.reply(c.call, call.Outcome{Err: fault.Because(err, "discover")})
			continue
		}
		c.from.reply(c.call, call.Outcome{Value: nodes})
	}
	l.nearby = nil
}
