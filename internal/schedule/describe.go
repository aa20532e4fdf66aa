package schedule

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// Describe returns a table for the scheduler's operator: the active computation, the queue, nodes and
// servers.
func (s *State) Describe() string {
	var b strings.Builder
	switch {
	case s.active != nil:
		fmt.Fprintf(&b, "active: computation %s, jobs: %d, runs that wait for a server: %d\n",
			s.active.label(), len(s.jobs), s.active.waiting.len())
	case s.leaving:
		b.WriteString("nothing is active, and no new computation is accepted\n")
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
			fmt.Fprintf(w, "  %v\t%d\t%v\n", locationOf(sv.info.Peer), sv.load, sv.state)
		}
	}
	_ = w.Flush() // memory does not fail
	return b.String()
}

// Counts are numbers of what a State holds.
type Counts struct {
	Jobs      int // runs that were sent to a server and have not ended
	Waiting   int // runs that wait for a server
	Unheard   int // runs that have ended, and that their client may not know of
	Releasing int // nodes that were sent a Release and have not sent Released
}

// Counts returns what the State holds now.
func (s *State) Counts() Counts {
	c := Counts{Jobs: len(s.jobs), Releasing: s.releasing}
	if s.active != nil {
		c.Waiting = s.active.waiting.len()
	}
	for _, sv := range s.servers {
		c.Unheard += len(sv.unheard)
	}
	return c
}

// label returns a text that identifies c.
func (c *computation) label() string { return fmt.Sprintf("%x of %s", c.submit.Token[:4], c.name()) }
