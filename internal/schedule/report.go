package schedule

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/discoro/discoro/wire"
)

// report says in words what a computation waits for: its turn, or servers; or what one of its runs does, unless job is zero.
func (s *State) report(token wire.Token, id wire.JobID) string {
	c := s.active
	if c == nil || c.submit.Token != token {
		i := slices.IndexFunc(s.queue, func(c *computation) bool { return c.submit.Token == token })
		if i < 0 {
			return "the scheduler does not know the computation"
		}
		return fmt.Sprintf("it is number %d in the scheduler's queue, behind a computation of %s", i+1, c.name())
	}
	if j := s.jobs[id]; j != nil {
		return fmt.Sprintf("it was sent to server %v, which has not said yet that it has started", at(j.server.info.Peer))
	}
	if id != (wire.JobID{}) && !c.waiting.has(id) {
		return fmt.Sprintf("it has not come to the scheduler at %v yet", s.cfg.At)
	}
	if len(s.known) == 0 {
		return fmt.Sprintf("no node is known to the scheduler at %v: start one with that among its Peers", s.cfg.At)
	}
	if len(s.known) <= mostNamed {
		var parts []string
		for _, n := range s.known {
			parts = append(parts, "node "+n.addr+": "+n.describe())
		}
		return strings.Join(parts, "; ")
	}
	return s.summary()
}

// mostNamed is how many nodes, and ways in which more of them are, a report tells of.
const mostNamed = 20

// summary is report where there are too many nodes to name each: those of which the same is to be said are counted, and one is named.
func (s *State) summary() string {
	var said []string // in order
	alike := map[string][]*node{}
	for _, n := range s.known {
		text := n.describe()
		if alike[text] == nil {
			said = append(said, text)
		}
		alike[text] = append(alike[text], n)
	}
	slices.SortStableFunc(said, func(a, b string) int { return cmp.Compare(len(alike[b]), len(alike[a])) })
	var parts []string
	rest := len(s.known)
	for _, text := range said[:min(len(said), mostNamed)] {
		nodes := alike[text]
		rest -= len(nodes)
		who := "node " + nodes[0].addr
		if len(nodes) > 1 {
			who = fmt.Sprintf("%d nodes, %s among them", len(nodes), nodes[0].addr)
		}
		parts = append(parts, who+": "+text)
	}
	if rest > 0 {
		parts = append(parts, fmt.Sprintf("and %d other nodes", rest))
	}
	return strings.Join(parts, "; ")
}

// name says whose computation c is.
func (c *computation) name() string {
	name := at(c.client)
	if c.submit.Name != "" {
		name = c.submit.Name + "@" + name
	}
	if c.closing {
		name += " that is closing"
	}
	return name
}

func (n *node) describe() string {
	trouble := ""
	if n.trouble != "" {
		trouble = " (" + n.trouble + ")"
	}
	switch n.state {
	case nodeReserved:
		if len(n.servers) == 0 {
			return "reserved, its servers are starting" + trouble
		}
		text, setUp := fmt.Sprintf("%d of %d servers ready", n.usable, len(n.servers)), 0
		for _, sv := range n.servers {
			if sv.state == serverSettingUp {
				setUp++
			}
		}
		if setUp > 0 { // the computation's files may take long
			text += fmt.Sprintf(", %d being set up", setUp)
		}
		return text + trouble
	case nodeReleased:
		return "closing"
	case nodeIdle:
	}
	switch {
	case n.why != "":
		return "not used: " + n.why
	case n.offer.Reason != "":
		return "not used: " + n.offer.Reason
	}
	return "not used yet"
}
