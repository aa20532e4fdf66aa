package discoro

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/discoro/discoro/internal/call"
)

// rcsPool holds the servers of a RemoteCoroScheduler and gives each to one task at a time, in the order in which tasks came. Who
// has a server may send more tasks there, ahead of time, while nobody else waits for one.
type rcsPool struct {
	mu      sync.Mutex // guards following; leaf
	servers map[Location]*rcsServer
	free    []*rcsServer         // in the order in which they became free
	waiting []*call.Future       // wait for a server, in order
	setting map[*rcsServer]error // servers that hooks are setting up (nil), or have refused
	closed  bool                 // none is given any more
}

// rcsServer is a server that may be used.
type rcsServer struct {
	loc   Location // immutable
	gone  bool     // guarded by the pool's mu; another may be at its location by now
	tasks int      // that have it; guarded by the pool's mu
}

// serverIn returns the server that a wait was given, nil when the pool has closed.
func serverIn(out call.Outcome) *rcsServer {
	sv, _ := out.Value.(*rcsServer)
	return sv
}

// setUp books that the hooks for a server have begun, or, with an error, that they refuse it.
func (p *rcsPool) setUp(sv *rcsServer, refused error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !sv.gone {
		p.setting[sv] = refused
	}
}

// report says in words why servers that are ready are not free; nothing where it knows of none.
func (p *rcsPool) report() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var refused []*rcsServer
	for sv, err := range p.setting {
		if err != nil {
			refused = append(refused, sv)
		}
	}
	var parts []string
	count := func(what string, n int) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%s: %d", what, n))
		}
	}
	count("servers at work", len(p.servers)-len(p.free))
	count("being set up", len(p.setting)-len(refused))
	count("refused by ProcStatus or ProcAvailable", len(refused))
	if len(refused) > 0 {
		first := slices.MinFunc(refused, func(a, b *rcsServer) int { return compareLocations(a.loc, b.loc) })
		parts[len(parts)-1] += fmt.Sprintf(" (%v: %v)", first.loc, p.setting[first])
	}
	return strings.Join(parts, ", ")
}

// add makes a server usable, unless it was dropped before.
func (p *rcsPool) add(sv *rcsServer) {
	p.mu.Lock()
	delete(p.setting, sv)
	fresh := !sv.gone && p.servers[sv.loc] == nil && !p.closed
	if fresh {
		p.servers[sv.loc], sv.tasks = sv, 1
	}
	p.mu.Unlock()
	if fresh {
		p.release(sv)
	}
}

// drop makes a server unusable.
func (p *rcsPool) drop(sv *rcsServer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	sv.gone = true
	delete(p.setting, sv)
	if p.servers[sv.loc] == sv {
		delete(p.servers, sv.loc)
		p.free = slices.DeleteFunc(p.free, func(o *rcsServer) bool { return o == sv })
	}
}

// extend has a server for one more task of who has it, unless others than got wait for one.
func (p *rcsPool) extend(sv *rcsServer, got *call.Future) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	others := len(p.waiting)
	if others == 1 && p.waiting[0] == got {
		others = 0
	}
	if sv.tasks == 0 || sv.gone || p.closed || others > 0 {
		return false
	}
	sv.tasks++
	return true
}

// release takes a task from a server: when that was the last it is given to who has waited longest, or is free.
func (p *rcsPool) release(sv *rcsServer) {
	if sv == nil {
		return
	}
	p.mu.Lock()
	var next *call.Future
	sv.tasks--
	switch {
	case sv.tasks > 0 || sv.gone || p.closed:
	case len(p.waiting) > 0:
		next, sv.tasks = p.waiting[0], 1
		p.waiting = withoutFirst(p.waiting)
	default:
		p.free = append(p.free, sv)
	}
	p.mu.Unlock()
	if next != nil {
		next.Set(call.Outcome{Value: sv})
	}
}

// acquire has got set to a free server, at once if there is one, or before others who wait if it is to be the first; to nothing when
// the pool is closed. cancel takes that back, and reports false when it is too late: then got is set, or will be in a moment.
func (p *rcsPool) acquire(got *call.Future, first bool) (cancel func() bool) {
	p.mu.Lock()
	var sv *rcsServer
	now := p.closed || len(p.free) > 0
	switch {
	case p.closed:
	case now:
		sv = p.free[0]
		sv.tasks = 1
		p.free = withoutFirst(p.free)
	case first:
		p.waiting = slices.Insert(p.waiting, 0, got)
	default:
		p.waiting = append(p.waiting, got)
	}
	p.mu.Unlock()
	if sv != nil {
		got.Set(call.Outcome{Value: sv})
	} else if now {
		got.Set(call.Outcome{})
	}
	return func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		i := slices.Index(p.waiting, got)
		if i >= 0 {
			p.waiting = slices.Delete(p.waiting, i, i+1)
		}
		return i >= 0
	}
}

// close makes everybody who waits for a server get none, from now on, and returns the servers that there were, sorted.
func (p *rcsPool) close() []Location {
	p.mu.Lock()
	p.closed = true
	waiting := p.waiting
	p.waiting, p.free = nil, nil
	locs := make([]Location, 0, len(p.servers))
	for loc := range p.servers {
		locs = append(locs, loc)
	}
	p.mu.Unlock()
	for _, got := range waiting {
		got.Set(call.Outcome{})
	}
	slices.SortFunc(locs, compareLocations)
	return locs
}

// withoutFirst takes the first off a queue, which may be long: nothing is moved.
func withoutFirst[T any](queue []*T) []*T {
	queue[0] = nil
	return queue[1:]
}
