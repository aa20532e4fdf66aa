package discoro

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
)

// What the operator of a scheduler wants: to see its state, to close a computation, to have it leave.

// schedCloser waits for the end of a computation.
type schedCloser struct {
	of   *schedComp
	told func() // never blocks
}

// do has f called in the loop, and waits for that.
func (l *schedLoop) do(f func(*schedLoop)) {
	done := make(chan struct{})
	l.box.put(roleEvent{do: func(l *schedLoop) { f(l); close(done) }})
	<-done
}

// closeActive closes the active computation; told is called when it has closed, at once when there is none.
func (l *schedLoop) closeActive(told func()) {
	c := l.state.active
	if c == nil {
		told()
		return
	}
	l.closers = append(l.closers, schedCloser{c, told})
	l.state.closeActive("closed at the scheduler")
}

// tellOperator tells who waits for the end of a computation, or of all.
func (l *schedLoop) tellOperator() {
	l.closers = slices.DeleteFunc(l.closers, func(c schedCloser) bool {
		over := c.of != l.state.active
		if over {
			c.told()
		}
		return over
	})
	if l.state.isOver() && !l.isOver {
		l.isOver = true
		close(l.over)
	}
}

// isOver reports whether the scheduler is leaving and has nothing to do.
func (s *schedState) isOver() bool { return s.leaving && s.active == nil && len(s.queue) == 0 }

// describe shows what the scheduler knows: the active computation, the queue, nodes and servers.
func (s *schedState) describe() string {
	var b strings.Builder
	switch {
	case s.active != nil:
		fmt.Fprintf(&b, "active: computation %s, jobs: %d, runs that wait for a server: %d\n", s.active.label(), len(s.jobs), s.active.waiting.len())
	case s.leaving:
		b.WriteString("nothing is active, and nothing new is taken\n")
	default:
		b.WriteString("nothing is active\n")
	}
	for i, c := range s.queue {
		fmt.Fprintf(&b, "queue, number %d: computation %s\n", i+1, c.label())
	}
	if len(s.known) == 0 {
		b.WriteString("no node is known\n")
		return b.String()
	}
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "node, server\tjobs\tstate")
	for _, n := range s.known {
		fmt.Fprintf(w, "%s (%s)\t%d\t%s\n", n.addr, n.offer.Name, n.load, n.describe())
		for _, sv := range n.servers {
			fmt.Fprintf(w, "  %v\t%d\t%v\n", peerLocation(sv.info.Peer), sv.load, sv.state)
		}
	}
	_ = w.Flush() // into memory
	return b.String()
}

// label says which computation c is.
func (c *schedComp) label() string { return fmt.Sprintf("%x of %s", c.submit.Token[:4], c.name()) }

// String says what a server is doing.
func (s serverState) String() string {
	switch s {
	case serverSettingUp:
		return "is being set up"
	case serverReady:
		return "ready"
	case serverIgnored:
	}
	return "could not be set up"
}
