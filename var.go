package discoro

// Var is a server's global variable: one value a server for the current computation, gone when that closes. Declare it
// at package level; its zero value is ready. Coroutines of one server share its value without locks, under the turn.
type Var[T any] struct {
	_ [1]byte // so that each has an address of its own
}

// Set sets the value for the server that c runs in.
func (v *Var[T]) Set(c *Coro, value T) {
	rt := c.inside("Var.Set").rt
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if rt.vars == nil {
		rt.vars = map[any]any{}
	}
	rt.vars[v] = held[T]{value}
}

// Get returns the value of the server that c runs in, and whether it was set.
func (v *Var[T]) Get(c *Coro) (T, bool) {
	rt := c.inside("Var.Get").rt
	rt.mu.Lock()
	defer rt.mu.Unlock()
	h, ok := rt.vars[v].(held[T])
	return h.value, ok
}

// held wraps a value, so that a nil interface counts as set.
type held[T any] struct{ value T }

// resetVars forgets the values of every Var.
func (rt *Runtime) resetVars() {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	rt.vars = nil
}
