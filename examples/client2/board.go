package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/discoro/discoro"
)

// board is what the statuses of a computation say about it. Only its coroutine uses it.
type board struct {
	relay   *discoro.Coro    // receives every status too; nil at first
	early   []discoro.Status // came before relay was known
	nodes   map[string]*node
	created int
	done    int
	failed  int

	changed bool
	drawn   time.Time
	lines   int // of the last drawing
}

type node struct {
	state   discoro.StatusKind
	why     string // it is not used, or not any longer
	avail   discoro.NodeAvail
	servers map[discoro.Location]*server
}

type server struct {
	state   discoro.StatusKind
	why     string
	running map[*discoro.Coro]discoro.CoroInfo // Terminate of one of these handles would end it
	done    int
}

func newBoard() *board { return &board{nodes: map[string]*node{}} }

// run is the body of the status coroutine; it ends with the computation.
func (b *board) run(c *discoro.Coro) (any, error) {
	const interval = 200 * time.Millisecond
	for over := false; !over; {
		msg, err := c.ReceiveTimeout(interval)
		switch {
		case err == nil:
			if over, err = b.handle(msg); err != nil {
				return nil, err
			}
		case !errors.Is(err, discoro.ErrTimeout):
			return nil, err
		}
		if over || b.changed && time.Since(b.drawn) >= interval {
			b.draw()
		}
	}
	return nil, nil
}

func (b *board) handle(msg any) (over bool, err error) {
	b.changed = true
	switch m := msg.(type) {
	case *discoro.Coro:
		b.relay = m
		for _, s := range b.early {
			err = errors.Join(err, m.Send(s))
		}
	case discoro.Status:
		if b.relay == nil {
			b.early = append(b.early, m)
		} else {
			err = b.relay.Send(m)
		}
		b.status(m)
		over = m.Kind == discoro.ComputationClosed
	case discoro.Exit:
		s := b.serverAt(m.Coro.Location())
		delete(s.running, m.Coro)
		s.done++
		b.done++
		if m.Err != nil {
			b.failed++
		}
	case discoro.NodeAvail: // at the start, and then at every pulse
		b.nodeAt(m.Node).avail = m
	}
	return over, err
}

func (b *board) status(s discoro.Status) {
	switch s.Kind {
	case discoro.NodeDiscovered, discoro.NodeInitialized, discoro.NodeClosed, discoro.NodeIgnore, discoro.NodeDisconnected:
		n := b.nodeAt(s.Node)
		n.state, n.why = s.Kind, s.Reason
	case discoro.ServerDiscovered, discoro.ServerInitialized, discoro.ServerClosed, discoro.ServerIgnore, discoro.ServerDisconnected:
		n := b.nodeAt(s.Node)
		if n.servers[s.Server] == nil {
			n.servers[s.Server] = &server{running: map[*discoro.Coro]discoro.CoroInfo{}}
		}
		n.servers[s.Server].state, n.servers[s.Server].why = s.Kind, s.Reason
	case discoro.CoroCreated:
		b.serverAt(s.Server).running[s.Coro.Coro] = s.Coro
		b.created++
	case discoro.ComputationScheduled, discoro.ComputationClosed:
	}
}

func (b *board) nodeAt(addr string) *node {
	if b.nodes[addr] == nil {
		b.nodes[addr] = &node{servers: map[discoro.Location]*server{}}
	}
	return b.nodes[addr]
}

// serverAt finds a server that was discovered, as every server is before anything runs there.
func (b *board) serverAt(at discoro.Location) *server {
	for _, n := range b.nodes {
		if s := n.servers[at]; s != nil {
			return s
		}
	}
	return &server{running: map[*discoro.Coro]discoro.CoroInfo{}}
}

// draw prints the board; on a terminal over the last drawing.
func (b *board) draw() {
	text := b.text()
	if info, err := os.Stdout.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 && b.lines > 0 {
		fmt.Printf("\x1b[%dA\x1b[J", b.lines) // up, and clear from there
	}
	fmt.Print(text)
	b.changed, b.drawn, b.lines = false, time.Now(), strings.Count(text, "\n")
}

func (b *board) text() string {
	var t strings.Builder
	fmt.Fprintf(&t, "coroutines: %d created, %d running, %d done, %d failed\n", b.created, b.created-b.done, b.done, b.failed)
	for _, addr := range slices.Sorted(maps.Keys(b.nodes)) {
		n := b.nodes[addr]
		fmt.Fprintf(&t, "node   %-21s %-18v", addr, n.state)
		if a := n.avail; a.Node != "" {
			fmt.Fprintf(&t, " CPU %3.0f%% free, memory %d MB, disk %d GB, swap %3.0f%%", a.CPU, a.Memory>>20, a.Disk>>30, a.Swap)
		}
		t.WriteString(because(n.why))
		byPort := func(a, b discoro.Location) int { return cmp.Or(strings.Compare(a.Addr, b.Addr), a.Port-b.Port) }
		for _, at := range slices.SortedFunc(maps.Keys(n.servers), byPort) {
			s := n.servers[at]
			fmt.Fprintf(&t, "server %-21v %-18v %2d done", at, s.state, s.done)
			for _, info := range s.running {
				fmt.Fprintf(&t, "  %s(%v) since %s", info.Func, info.Arg, info.Start.Format("15:04:05.0"))
			}
			t.WriteString(because(s.why))
		}
	}
	return t.String()
}

// because ends a line with the reason, if there is one.
func because(why string) string {
	if why == "" {
		return "\n"
	}
	return ": " + why + "\n"
}
