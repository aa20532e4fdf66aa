package discoro

import "testing"

// claimIn returns a claim in a state, on a pool with one server where that is free or held, and the
// number of times that the claim has called notify.
func claimIn(t *testing.T, state claimState) (c *rcsClaim, sv *rcsServer, notified *int) {
	t.Helper()
	p := &rcsPool{servers: map[Location]*rcsServer{}, setting: map[*rcsServer]error{}}
	sv, notified = &rcsServer{loc: Location{"server", 1}}, new(int)
	c = &rcsClaim{pool: p, notify: func() { *notified++ }}
	if state != claimNone {
		c.ask()
	}
	switch state {
	case claimOutside:
		c.stepOut()
	case claimHeld:
		p.add(sv)
	case claimClosed:
		p.close()
	case claimNone, claimWaiting:
	}
	if c.state != state {
		t.Fatalf("the state is %d, want %d", c.state, state)
	}
	*notified = 0
	return c, sv, notified
}

// TestClaim goes through the table of a claim's states.
func TestClaim(t *testing.T) {
	t.Parallel()
	ask := func(c *rcsClaim, _ *rcsServer) { c.ask() }
	comes := func(c *rcsClaim, sv *rcsServer) { c.pool.add(sv) }
	closes := func(c *rcsClaim, _ *rcsServer) { c.pool.close() }
	take := func(c *rcsClaim, _ *rcsServer) { c.take() }
	stepOut := func(c *rcsClaim, _ *rcsServer) { c.stepOut() }
	for _, test := range []struct {
		name     string
		from     claimState
		do       func(*rcsClaim, *rcsServer)
		to       claimState
		notified int
		free     int  // servers in the pool afterwards
		first    bool // a server was passed on
		waiting  int  // waits in the pool's line
	}{
		{name: "ask", from: claimNone, do: ask, to: claimWaiting, waiting: 1},
		{name: "ask where a server is free", from: claimNone, to: claimHeld, notified: 1, do: func(c *rcsClaim, sv *rcsServer) {
			c.pool.add(sv)
			c.ask()
		}},
		{name: "ask of a closed pool", from: claimNone, to: claimClosed, notified: 1, do: func(c *rcsClaim, _ *rcsServer) {
			c.pool.close()
			c.ask()
		}},
		{name: "step out with nothing", from: claimNone, do: stepOut, to: claimNone},
		{name: "ask again", from: claimWaiting, do: ask, to: claimWaiting, waiting: 1},
		{name: "a server comes", from: claimWaiting, do: comes, to: claimHeld, notified: 1},
		{name: "the pool closes", from: claimWaiting, do: closes, to: claimClosed, notified: 1},
		{name: "step out while it waits", from: claimWaiting, do: stepOut, to: claimOutside, waiting: 1},
		{name: "come back", from: claimOutside, do: ask, to: claimWaiting, waiting: 1},
		{name: "a server comes while it is outside", from: claimOutside, do: comes, to: claimNone, free: 1, first: true},
		{name: "the pool closes while it is outside", from: claimOutside, do: closes, to: claimClosed, notified: 1},
		{name: "step out twice", from: claimOutside, do: stepOut, to: claimOutside, waiting: 1},
		{name: "ask with a server", from: claimHeld, do: ask, to: claimHeld},
		{name: "take it", from: claimHeld, do: take, to: claimNone},
		{name: "step out with a server", from: claimHeld, do: stepOut, to: claimNone, free: 1, first: true},
		{name: "ask of a pool that is known to be closed", from: claimClosed, do: ask, to: claimClosed},
		{name: "step out of that", from: claimClosed, do: stepOut, to: claimClosed},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, sv, notified := claimIn(t, test.from)
			test.do(c, sv)
			held, closed := c.held()
			if c.state != test.to || *notified != test.notified || len(c.pool.free) != test.free || c.first != test.first ||
				len(c.pool.waiting) != test.waiting || (held != nil) != (test.to == claimHeld) || closed != (test.to == claimClosed) ||
				(c.waits() != nil) != (test.waiting > 0) {
				t.Errorf("from %d to %d, notified %d times, %d free, first: %v, %d waiting, held %v, closed: %v; want %+v",
					test.from, c.state, *notified, len(c.pool.free), c.first, len(c.pool.waiting), held, closed, test)
			}
		})
	}
}

// TestClaimComesFirst passes a server on to another wait: the claim is the first in the line then.
func TestClaimComesFirst(t *testing.T) {
	t.Parallel()
	c, sv, _ := claimIn(t, claimHeld)
	other := &rcsClaim{pool: c.pool, notify: func() {}}
	late := &rcsClaim{pool: c.pool, notify: func() {}}
	other.ask()
	c.stepOut()
	late.ask()
	if got, _ := other.held(); got != sv {
		t.Fatal("a server was not passed on")
	}
	c.ask()
	other.take()
	c.pool.release(sv)
	if got, _ := c.held(); got != sv {
		t.Error("a claim that had passed a server on is not the first that gets it back")
	}
	late.quit()
	c.quit()
	if len(c.pool.free) != 1 || len(c.pool.waiting) != 0 {
		t.Errorf("%d servers are free and %d wait, want 1 and 0", len(c.pool.free), len(c.pool.waiting))
	}
}
