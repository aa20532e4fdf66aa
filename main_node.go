package discoro

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/discoro/discoro/wire"
)

// nodeRole is a node for its operator.
type nodeRole struct{ *Node }

func (r *nodeRole) banner() string {
	cfg := &r.loop.cfg
	kind := "in this process"
	if cfg.Processes {
		kind = "processes"
	}
	b := fmt.Sprintf("node %s at %v, id %x, servers: %d, %s\n", r.Name(), r.Location(), r.rt.id[:4], cfg.count, kind)
	return b + r.rt.protection() + "\n" + functionList()
}

// protection says how the runtime's links are protected, and who may reach it.
func (rt *Runtime) protection() string {
	cfg := &rt.cfg
	switch {
	case cfg.Secret != "":
		return "links are protected by a secret"
	case cfg.TLS != nil || cfg.CertFile != "":
		return "links are protected by certificates"
	case cfg.reachable:
		return "links are not protected (insecure): whoever reaches the port can run functions"
	}
	return "links are not protected: only this machine can reach it; for others give both sides a secret"
}

func functionList() string {
	names := registry.names()
	if len(names) == 0 {
		return "functions: none; the program must import the packages that register them"
	}
	return "functions: " + strings.Join(names, ", ")
}

func (r *nodeRole) leave()                { r.loop.do((*nodeLoop).leave) }
func (r *nodeRole) left() <-chan struct{} { return r.loop.over }

func (r *nodeRole) closeActive(closed func()) {
	r.loop.do(func(l *nodeLoop) {
		l.onFree(closed)
		l.release("closed at the node", true)
	})
}

// slotStatus is what is known of one server.
type slotStatus struct {
	name, location, state string
	link                  *link // nil: it is not up
}

// status shows the servers.
func (r *nodeRole) status(ctx context.Context) string {
	var slots []slotStatus
	var b strings.Builder
	r.loop.do(func(l *nodeLoop) {
		fmt.Fprintf(&b, "node %s at %v: %s; computations served: %d\n", r.Name(), r.Location(), l.describe(), l.served)
		for _, s := range l.slots {
			slots = append(slots, l.slotStatus(s))
		}
	})
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "server\tlocation\tcoroutines\tstate")
	for _, s := range slots {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", s.name, s.location, s.tally(ctx), s.state)
	}
	_ = w.Flush() // into memory
	return b.String()
}

// describe says what the node does.
func (l *nodeLoop) describe() string {
	what := "free"
	if v := l.serving; v != nil {
		what = fmt.Sprintf("serves computation %x of %v", v.reserve.Token[:4], peerLocation(v.reserve.Client))
		if v.releasing {
			what += ", which is closing"
		}
	}
	if away := l.away(); away != "" {
		what += ", takes nothing new: " + away
	}
	return what
}

func (l *nodeLoop) slotStatus(s *serverSlot) slotStatus {
	st := slotStatus{name: fmt.Sprint(s.index + 1), location: "-", state: "starting"}
	switch {
	case s.ending || s.doomed != "":
		st.state = "ending"
	case s.isUp() && s.closed, s.isUp() && s.setUp && l.serving.releasing:
		st.state = "closing its computation"
	case s.isUp() && s.setUp:
		st.state = "serving"
	case s.isUp():
		st.state = "free"
	case s.host == nil && l.draining:
		st.state = "ended"
	case s.host == nil:
		st.state = "is to be started again"
	}
	if s.isUp() {
		st.link, st.location = s.link, peerLocation(s.info.Peer).String()
	}
	return st
}

// tally asks a server how many coroutines it has.
func (s *slotStatus) tally(ctx context.Context) string {
	if s.link == nil {
		return "-"
	}
	out, err := s.link.request(ctx, waitTally, func(call uint64) wire.Frame { return &wire.Tally{Call: call} })
	if err = cmp.Or(err, out.Err); err != nil {
		return "unknown"
	}
	n, err := resultAs[int](s.link.rt, out, "tally")
	if err != nil {
		return "unknown"
	}
	return fmt.Sprint(n)
}
