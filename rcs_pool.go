package discoro

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/discoro/discoro/internal/call"
)

// rcsPool holds the servers of a RemoteCoroScheduler. It gives each to one task at a time, in the
// order in which the tasks came. While no other task waits for a server, the owner of a server may
// extend its claim: it sends more tasks there, which wait behind the first.
type rcsPool struct {
	mu      sync.Mutex // guards following; leaf
	servers map[Location]*rcsServer
	free    []*rcsServer         // in the order in which they became free
	waiting []*call.Future       // the line: they wait for a server
	setting map[*rcsServer]error // servers that hooks are setting up (nil), or have refused
	closed  bool                 // no server is given any more
}

// rcsServer is a server that may be used.
type rcsServer struct {
	loc   Location // immutable
	gone  bool     // dropped; another may be at its location; guarded by rcsPool.mu
	tasks int      // that have it; guarded by rcsPool.mu
}

// serverIn returns the server that a wait has brought, nil when the pool has closed.
func serverIn(out call.Outcome) *rcsServer {
	sv, _ := out.Value.(*rcsServer)
	return sv
}

// setUp records that the hooks for a server have begun or, with an error, that they have refused
// it.
func (p *rcsPool) setUp(sv *rcsServer, refused error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !sv.gone {
		p.setting[sv] = refused
	}
}

// report returns a text that says why servers are not free. The text is empty if the pool has no
// server.
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

// add makes a server usable, unless it was dropped before that.
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

// extend gives a server to one more task of its owner, unless other waits than the owner's are in
// the line. It reports whether it has.
func (p *rcsPool) extend(sv *rcsServer, own *call.Future) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	others := len(p.waiting)
	if others == 1 && p.waiting[0] == own {
		others = 0
	}
	if sv.tasks == 0 || sv.gone || p.closed || others > 0 {
		return false
	}
	sv.tasks++
	return true
}

// release takes a task from a server. After its last task, the server is given to the first of the
// line, or is free. nil: none.
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

// acquire sets got to a free server: at once if there is one, and otherwise when got is the first
// in the line. If first is set, got enters the line before all others. When the pool is closed, got
// is set to nil. cancel leaves the line. It returns false when it is too late: then got is set, or
// will be soon.
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

// close ends all waits without a server, now and from now on, and returns the servers that the pool
// has, sorted.
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

// withoutFirst takes the first off a queue. It moves nothing, as the queue may be long.
func withoutFirst[T any](queue []*T) []*T {
	queue[0] = nil
	return queue[1:]
}

// rcsClaim is the claim of a mapping to the next free server of a pool. Between the mapping's own
// steps user code runs: the loop's body, and the iterator that gives the arguments. That code may
// need a server itself, so the mapping holds none meanwhile: a server that becomes free is passed
// on, and the mapping's next wait is then the first in the pool's line.
//
//	state       ask      a server comes   the pool closes   stepOut
//	none        waiting                                     none
//	waiting     waiting  held             closed            outside
//	outside     waiting  none, passed on  closed            outside
//	held        held                                        none, passed on
//	closed      closed                                      closed
//
// take changes held to none. ask, held, take, stepOut and quit belong to the mapping; the pool
// calls given.
type rcsClaim struct {
	pool   *rcsPool    // immutable
	notify func()      // immutable: is called when the state has become held or closed; never blocks
	cancel func() bool // takes back the last wait; nil: there was none

	mu     sync.Mutex // guards following; leaf
	state  claimState
	wait   *call.Future // in the pool's line: of waiting and outside
	server *rcsServer   // of held
	first  bool         // a server was passed on: the next wait is the first of the line
}

// claimState is where a claim is.
type claimState uint8

const (
	claimNone    claimState = iota // it neither waits nor has a server
	claimWaiting                   // it waits in the pool's line
	claimOutside                   // it waits there while user code runs
	claimHeld                      // it has a server, which is not used yet
	claimClosed                    // no server will come any more
)

// ask makes the claim wait for a server, unless it has one.
func (c *rcsClaim) ask() {
	c.mu.Lock()
	var wait *call.Future
	first := c.first
	switch c.state {
	case claimNone:
		wait = &call.Future{}
		c.state, c.wait, c.first = claimWaiting, wait, false
	case claimOutside:
		c.state = claimWaiting
	case claimWaiting, claimHeld, claimClosed:
	}
	c.mu.Unlock()
	if wait == nil {
		return
	}
	c.cancel = c.pool.acquire(wait, first)
	wait.OnDone(func(out call.Outcome) { c.given(serverIn(out)) })
}

// given is called when the wait is over: with a server, or with nil when there will be none.
func (c *rcsClaim) given(sv *rcsServer) {
	c.mu.Lock()
	c.wait = nil
	pass := sv != nil && c.state == claimOutside
	switch {
	case sv == nil:
		c.state = claimClosed
	case pass:
		c.state, c.first = claimNone, true
	default:
		c.state, c.server = claimHeld, sv
	}
	c.mu.Unlock()
	if pass {
		c.pool.release(sv)
		return
	}
	c.notify()
}

// held returns the server that has come, nil when none has; closed reports that none will.
func (c *rcsClaim) held() (sv *rcsServer, closed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.server, c.state == claimClosed
}

// waits returns the claim's wait in the pool's line, nil when it has none there.
func (c *rcsClaim) waits() *call.Future {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wait
}

// take takes the server that is held.
func (c *rcsClaim) take() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state, c.server = claimNone, nil
}

// stepOut is called before user code runs. It passes on the server that is held and, until the next
// ask, each server that comes.
func (c *rcsClaim) stepOut() {
	c.mu.Lock()
	sv := c.server
	switch c.state {
	case claimWaiting:
		c.state = claimOutside
	case claimHeld:
		c.state, c.server, c.first = claimNone, nil, true
	case claimNone, claimOutside, claimClosed:
	}
	c.mu.Unlock()
	c.pool.release(sv)
}

// quit gives up the claim. A server that still comes is passed on.
func (c *rcsClaim) quit() {
	if c.cancel != nil {
		c.cancel()
	}
	c.stepOut()
}
