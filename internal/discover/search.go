package discover

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/lan"
	"github.com/discoro/discoro/internal/loop"
	"github.com/discoro/discoro/wire"
)

// Bounds of one search.
const (
	maxFound  = 1024 // runtimes that it finds
	maxVisits = 16   // visits at the same time
)

// Visit is what a search does with a runtime that it has found. It may block until ctx ends.
type Visit func(ctx context.Context, f Found)

// Search asks once for each of pauses, and waits for answers that long, as datagrams may get lost.
// It calls visit, in a goroutine of its own, for each other runtime that answers, at most maxVisits
// at the same time. If name is not empty, only runtimes that have it answer. Search returns when
// all visits have returned, or soon after ctx has ended. It is no error if no runtime answers.
func (d *Discovery) Search(ctx context.Context, name string, pauses []time.Duration, visit Visit) error {
	if err := d.cfg.Protect.Ready(ctx); err != nil {
		return err
	}
	if d.cfg.Memory != nil {
		d.searchMemory(ctx, name, visit)
		return nil
	}
	a, err := lan.NewAsker(d.local(), d.cfg.UDPPort)
	if err != nil {
		return err
	}
	defer a.Close()
	s := &search{d: d, questions: map[wire.ID]bool{}, answers: make(chan Found, maxFound)}
	numbers := make([]wire.ID, len(pauses))
	for i := range numbers {
		numbers[i] = wire.NewID()
		s.questions[numbers[i]] = true
	}
	for _, conn := range a.Conns() {
		if !d.cfg.Start(func() { s.hear(conn) }) {
			return fault.Closed
		}
	}
	vctx, cancel := context.WithTimeoutCause(ctx, d.cfg.Timeout, fault.Timeout)
	defer cancel()
	visits := loop.NewGroup(d.cfg.Start, maxVisits)
	defer visits.Wait()
	seen := map[wire.ID]bool{d.cfg.ID: true}
	found := func(f Found) {
		if !seen[f.ID] && len(seen) <= maxFound {
			seen[f.ID] = true
			visits.Start(vctx, func() { visit(vctx, f) })
		}
	}
	for i, pause := range pauses {
		b, err := d.encode(wire.DatagramQuestion, numbers[i], name)
		if err == nil {
			err = a.Send(b)
		}
		if err != nil && i == 0 {
			return err
		}
		if err := s.await(ctx, pause, found); err != nil {
			return err
		}
	}
	return nil
}

// search is one search under way.
type search struct {
	d         *Discovery       // immutable
	questions map[wire.ID]bool // immutable: their numbers
	answers   chan Found       // immutable
}

// hear owns a socket, and reads the answers that come to it. It ends when the socket is closed.
func (s *search) hear(conn *net.UDPConn) {
	s.d.readAll(conn, func(g *wire.Datagram, from netip.AddrPort) {
		if g.Kind != wire.DatagramAnswer || !s.questions[g.Question] {
			return
		}
		select {
		case s.answers <- whereIs(g, from.Addr()):
		default: // it will answer the next question, too
		}
	})
}

// await hands over the answers that come within d.
func (s *search) await(ctx context.Context, d time.Duration, found func(Found)) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case f := <-s.answers:
			found(f)
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// whereIs returns where to dial a runtime that has answered: at the address that the datagram came
// from. The address inside the datagram counts only for a loopback address, and only if the
// datagram came from this machine.
func whereIs(g *wire.Datagram, from netip.Addr) Found {
	if from.IsLoopback() && g.Addr.IsValid() {
		from = g.Addr // DecodeDatagram has checked that it is a loopback address, too
	}
	return Found{ID: g.From, Host: from.String(), Port: g.Port}
}

// searchMemory is Search in memory, where runtimes are visited one after the other.
func (d *Discovery) searchMemory(ctx context.Context, name string, visit Visit) {
	vctx, cancel := context.WithTimeoutCause(ctx, d.cfg.Timeout, fault.Timeout)
	defer cancel()
	for _, near := range d.cfg.Memory.Near() {
		o := near.(*Discovery)
		if o != d && o.cfg.Group == d.cfg.Group && (name == "" || o.cfg.Has(name)) {
			visit(vctx, o.cfg.Found)
		}
	}
}
