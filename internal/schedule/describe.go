package schedule

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// Describe shows what the scheduler knows: the active computation, the queue, nodes and servers.
func (s *State) Describe() string {
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
			fmt.Fprintf(w, "  %s\t%d\t%v\n", at(sv.info.Peer), sv.load, sv.state)
		}
	}
	_ = w.Flush() // into memory
	return b.String()
}

// Counts says how much of what a State holds.
type Counts struct {
	Jobs    int // runs that were sent to a server, and have not ended
	Waiting int // runs that wait for a server
	Unheard int // runs that have ended at a server, and of which the client may not know
	Closing int // nodes that were sent a Release, and have not answered
}

// Counts counts what the state holds now.
func (s *State) Counts() Counts {
	c := Counts{Jobs: len(s.jobs), Closing: s.closing}
	if s.active != nil {
		c.Waiting = s.active.waiting.len()
	}
	for _, sv := range s.servers {
		c.Unheard += len(sv.ended)
	}
	return c
}

// label says which computation c is.
func (c *computation) label() string { return fmt.Sprintf("%x of %s", c.submit.Token[:4], c.name()) }

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
