package schedule

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/discoro/discoro/wire"
)

// report returns in words what a computation waits for: to become active, or servers. Unless id is
// zero, it returns why that run has not started.
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
		return fmt.Sprintf("it was sent to server %v, which has not reported yet that it has started",
			locationOf(j.server.info.Peer))
	}
	if id != (wire.JobID{}) && !c.waiting.has(id) {
		return fmt.Sprintf("it has not arrived at the scheduler at %v yet", s.cfg.At)
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

// mostNamed bounds how many nodes, or groups of nodes, a report names.
const mostNamed = 20

// summary describes the nodes when they are too many to name each. It groups those with the same
// description, counts each group, and names one node of it. The largest groups come first.
func (s *State) summary() string {
	var texts []string // the keys of alike, as they were met
	alike := map[string][]*node{}
	for _, n := range s.known {
		text := n.describe()
		if alike[text] == nil {
			texts = append(texts, text)
		}
		alike[text] = append(alike[text], n)
	}
	slices.SortStableFunc(texts, func(a, b string) int { return cmp.Compare(len(alike[b]), len(alike[a])) })
	var parts []string
	rest := len(s.known)
	for _, text := range texts[:min(len(texts), mostNamed)] {
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

// name returns the name of the client of c.
func (c *computation) name() string {
	name := locationOf(c.client).String()
	if c.submit.Name != "" {
		name = c.submit.Name + "@" + name
	}
	if c.closing {
		name += " that is closing"
	}
	return name
}

// describe returns what n does, in words.
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
		text := fmt.Sprintf("%d of %d servers ready", n.usable, len(n.servers))
		if count := n.settingUp(); count > 0 { // the computation's files may take long
			text += fmt.Sprintf(", %d being set up", count)
		}
		return text + trouble
	case nodeReleasing:
		return "closing"
	case nodeUnused:
	}
	switch {
	case n.why != "":
		return "not used: " + n.why
	case n.offer.Reason != "":
		return "not used: " + n.offer.Reason
	}
	return "not used yet"
}
