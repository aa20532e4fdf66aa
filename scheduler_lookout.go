package discoro

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/wire"
)

// lookout finds nodes for a scheduler, in addition to those that connect to it themselves: those of
// SchedulerConfig.Nodes, the nodes near them and, at every PingInterval, those of the local
// network.
type lookout struct {
	rt    *Runtime           // immutable
	paces chan time.Duration // capacity 1: the latest interval that the active computation asks for

	mu  sync.Mutex                // guards following; leaf
	far map[Location][]*link.Link // to each of SchedulerConfig.Nodes, as of the last dial
}

func newLookout(rt *Runtime) *lookout {
	return &lookout{rt: rt, paces: make(chan time.Duration, 1), far: map[Location][]*link.Link{}}
}

// begin starts the goroutines. They end with the runtime.
func (o *lookout) begin(nodes []Location, every time.Duration) {
	for _, n := range nodes {
		o.rt.start(func() { o.rt.net.Keep(link.Location(n), func(links []*link.Link) { o.reached(n, links) }) })
	}
	o.rt.start(func() { o.run(every) })
}

// pace sets the interval that the active computation asks for; 0: none. Only the scheduler's loop
// calls it. It never blocks.
func (o *lookout) pace(every time.Duration) {
	select {
	case <-o.paces: // run has not seen the last one
	default:
	}
	o.paces <- every
}

// run looks for nodes at the scheduler's own interval, or that of the computation where that is
// less. It ends with the runtime.
func (o *lookout) run(own time.Duration) {
	every := own
	for {
		if every > 0 {
			o.search()
		}
		due := time.NewTimer(cmp.Or(every, time.Hour))
		select {
		case <-due.C:
		case asked := <-o.paces:
			if every = own; asked > 0 && (own == 0 || asked < own) {
				every = asked
			}
		case <-o.rt.ctx.Done():
		}
		due.Stop()
		if o.rt.ctx.Err() != nil {
			return
		}
	}
}

// search asks the local network, and asks the nodes of other networks for those near them.
func (o *lookout) search() {
	if o.rt.discovery != nil {
		if err := o.rt.discover(o.rt.ctx); err != nil && o.rt.ctx.Err() == nil {
			o.rt.log.Warn("cannot look for nodes on the local network", slog.Any("err", err))
		}
	}
	o.mu.Lock()
	var far []*link.Link
	for _, links := range o.far {
		far = append(far, links...)
	}
	o.mu.Unlock()
	for _, l := range far {
		o.rt.start(func() { o.askNear(l) })
	}
}

// reached records the links to one of SchedulerConfig.Nodes, and asks over the new ones for the
// nodes near that.
func (o *lookout) reached(node Location, links []*link.Link) {
	o.mu.Lock()
	old := o.far[node]
	o.far[node] = links
	o.mu.Unlock()
	for _, l := range links {
		if !slices.Contains(old, l) {
			o.rt.start(func() { o.askNear(l) })
		}
	}
}

// Bounds of a scheduler's work with the nodes that another node knows.
const (
	maxNearNodes = 1024 // nodes that it connects to
	maxNearDials = 16   // dials at the same time
)

// askNear asks a node for the nodes of its network, and connects to those. It ends at the latest
// soon after twice MsgTimeout.
func (o *lookout) askNear(l *link.Link) {
	ctx, cancel := context.WithTimeout(o.rt.ctx, 2*o.rt.cfg.MsgTimeout)
	defer cancel()
	out, err := l.Request(ctx, waitDiscover, nil, func(call uint64) wire.Frame { return &wire.Near{Call: call} })
	var near []string
	if err == nil {
		near, err = resultAs[[]string](o.rt, out, "near")
	}
	if err != nil {
		o.rt.log.Debug("cannot ask a node for the nodes near it",
			slog.String("node", l.Location().String()), slog.Any("err", err))
		return
	}
	dials := o.rt.group(maxNearDials)
	for _, n := range near[:min(len(near), maxNearNodes)] {
		loc, err := parseLocation(n)
		if err != nil || slices.Contains(o.rt.Peers(), loc) {
			continue
		}
		dials.Start(ctx, func() {
			if _, err := o.rt.linkAt(ctx, loc); err != nil {
				o.rt.log.Debug("cannot connect to a node that another one knows", slog.String("node", n), slog.Any("err", err))
			}
		})
	}
	dials.Wait()
}
