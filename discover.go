package discoro

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/lan"
	"github.com/discoro/discoro/wire"
)

// DefaultUDPPort is where runtimes listen for questions on the local network, unless Config.UDPPort says otherwise.
const DefaultUDPPort = 51350

// Bounds of discovery.
const (
	datagramAge  = time.Minute // a question that is older, or as much too new, is not answered
	maxAnswers1s = 100         // answers in a second
	maxAnswersTo = 20          // of them to one address
	maxFound     = 1024        // runtimes that one search finds
	maxFoundDial = 16          // of them dialled, or asked, at the same time
)

// When the questions of a search go out, and how long answers are waited for after each: datagrams are lost at times.
var (
	discoverPauses = []time.Duration{200 * time.Millisecond, 300 * time.Millisecond, 500 * time.Millisecond}
	locatePauses   = []time.Duration{150 * time.Millisecond, 250 * time.Millisecond}
)

// discovery is a runtime's part in finding others on the local network.
type discovery struct {
	rt     *Runtime       // immutable
	listen netip.Addr     // immutable: of the listener
	conns  []*net.UDPConn // immutable: for questions of others
	asked  questions
}

// openDiscovery opens the sockets for questions of others. nil is no discovery at all.
func openDiscovery(rt *Runtime) (*discovery, error) {
	if rt.cfg.inMemory() && rt.cfg.UDPPort >= 0 {
		if !rt.cfg.deaf {
			rt.cfg.host.Announce(rt.loc.String(), rt)
		}
		return &discovery{rt: rt}, nil
	}
	tcp, ok := rt.net.Addr().(*net.TCPAddr)
	if rt.cfg.UDPPort < 0 || !ok {
		return nil, nil
	}
	d := &discovery{rt: rt, listen: tcp.AddrPort().Addr().Unmap().WithZone("")}
	if rt.cfg.deaf {
		return d, nil
	}
	var err error
	d.conns, err = lan.Hear(d.listen, d.port())
	switch {
	case err == nil:
	case rt.cfg.UDPPort != 0:
		return nil, badField("UDPPort", "%d cannot be listened on: %w; choose another, the same everywhere, or -1 for no discovery", d.port(), err)
	default:
		rt.log.Warn("cannot be discovered on the local network: the port for that cannot be listened on", slog.Int("port", d.port()), slog.Any("err", err))
	}
	return d, nil
}

// port is where questions go to.
func (d *discovery) port() int {
	if d.rt.cfg.UDPPort > 0 {
		return d.rt.cfg.UDPPort
	}
	return DefaultUDPPort
}

// local reports whether only this machine can reach the runtime: then it hears, and asks, this machine only.
func (d *discovery) local() bool { return d.listen.IsLoopback() }

// begin starts the goroutines.
func (d *discovery) begin() {
	if d == nil {
		return
	}
	for _, conn := range d.conns {
		d.rt.start(func() { d.answerAll(conn) })
	}
	if d.rt.cfg.DiscoverPeers {
		d.rt.start(func() {
			if err := d.discover(d.rt.ctx); err != nil && d.rt.ctx.Err() == nil {
				d.rt.log.Warn("cannot look for peers on the local network", slog.Any("err", err))
			}
		})
	}
}

// close ends the goroutines.
func (d *discovery) close() error {
	if d == nil {
		return nil
	}
	var errs []error
	for _, conn := range d.conns {
		errs = append(errs, conn.Close())
	}
	return errors.Join(errs...)
}

// Discover looks for runtimes on the local network and connects to those that answer, as Connect does; it asks this machine
// only when the runtime listens on loopback. Only runtimes with the same Config.UDPPort and the same kind of protection
// answer, and with a secret only those that have it.
//
// Discover blocks for a second, in which it asks three times, and then until those that were found are connected or cannot
// be, at most Config.MsgTimeout more, or until ctx ends. That nobody answers, or that one who did cannot be
// connected to, is no error; see [Runtime.Peers]. ErrRejected: discovery is off; ErrClosed: the runtime is closed. Any
// other error: there is no network to ask on.
func (rt *Runtime) Discover(ctx context.Context) error {
	if rt.discovery == nil {
		return fmt.Errorf("discoro: discover: it is turned off: Config.UDPPort is negative: %w", ErrRejected)
	}
	dctx, stop := context.WithCancel(rt.ctx)
	defer stop()
	k := call.New(waitDiscover, nil)
	if !rt.start(func() {
		err := rt.discovery.discover(dctx)
		if rt.ctx.Err() != nil {
			err = fmt.Errorf("the runtime was closed meanwhile: %w", ErrClosed)
		}
		k.Finish(call.Outcome{Err: err})
	}) {
		return fmt.Errorf("discoro: discover: %w", errRuntimeClosed)
	}
	out, err := rt.wait(ctx, k)
	if err = errors.Join(err, out.Err); err != nil {
		return fault.Because(err, "discover")
	}
	return nil
}

// discover is Discover without its surroundings.
func (d *discovery) discover(ctx context.Context) error {
	return d.search(ctx, "", discoverPauses, func(ctx context.Context, id wire.ID, at Location) {
		if l := d.rt.net.If(id); l != nil {
			if _, up := l.Peer(); up {
				return
			}
		}
		if _, err := d.rt.linkAt(ctx, at); err != nil {
			d.rt.log.Debug("cannot connect to a runtime that was discovered", slog.String("peer", at.String()), slog.Any("err", err))
		}
	})
}

// locateNear asks on the local network for what has that name, and then at the runtimes that say they have it.
func locateNear[T any](ctx context.Context, d *discovery, name string, ask locateOne[T]) (found T, err error) {
	sctx, stop := context.WithCancel(d.rt.ctx)
	defer stop()
	k := call.New(waitLocate, nil)
	if !d.rt.start(func() {
		err := d.search(sctx, name, locatePauses, func(ctx context.Context, _ wire.ID, at Location) {
			if one, err := ask(ctx, name, at); err == nil {
				k.Finish(call.Outcome{Value: one})
			}
		})
		if d.rt.ctx.Err() != nil {
			k.Finish(call.Outcome{Err: fmt.Errorf("the runtime was closed meanwhile: %w", ErrClosed)})
			return
		}
		if err == nil {
			err = errors.New("nobody on the local network has it")
		}
		k.Finish(call.Outcome{Err: fault.New(err.Error(), ErrNotFound, err)})
	}) {
		return found, errRuntimeClosed
	}
	out, err := d.rt.wait(ctx, k)
	if err != nil {
		return found, err
	}
	found, _ = out.Value.(T)
	return found, out.Err
}

// found is a runtime that has answered.
type found struct {
	id wire.ID
	at Location
}

// search asks once for each of pauses, and calls visit, in a goroutine, for each runtime that answers, but for this one. It
// returns when every visit has, or soon after ctx has ended.
func (d *discovery) search(ctx context.Context, name string, pauses []time.Duration, visit func(context.Context, wire.ID, Location)) error {
	rt := d.rt
	if err := rt.cfg.protect.Ready(ctx); err != nil {
		return err
	}
	if rt.cfg.inMemory() {
		d.searchMemory(ctx, name, visit)
		return nil
	}
	a, err := lan.NewAsker(d.local(), d.port())
	if err != nil {
		return err
	}
	defer a.Close()
	asked := map[wire.ID]bool{}
	questions := make([]wire.ID, len(pauses))
	for i := range questions {
		questions[i] = wire.NewID()
		asked[questions[i]] = true
	}
	answers := make(chan found, maxFound)
	for _, conn := range a.Conns() {
		if !rt.start(func() { d.hearAnswers(conn, asked, answers) }) {
			return ErrClosed
		}
	}
	vctx, cancel := context.WithTimeoutCause(ctx, rt.cfg.MsgTimeout+time.Second, ErrTimeout)
	defer cancel()
	var visits sync.WaitGroup // counts goroutines of the runtime, and is waited for here
	defer visits.Wait()
	room := make(chan struct{}, maxFoundDial)
	seen := map[wire.ID]bool{rt.id: true}
	for i, pause := range pauses {
		if err := d.ask(a, questions[i], name); err != nil && i == 0 {
			return err
		}
		timer := time.NewTimer(pause)
		for over := false; !over; {
			select {
			case f := <-answers:
				if seen[f.id] || len(seen) > maxFound {
					break
				}
				seen[f.id] = true
				visits.Add(1)
				if !rt.start(func() {
					defer visits.Done()
					select {
					case room <- struct{}{}:
						visit(vctx, f.id, f.at)
						<-room
					case <-vctx.Done():
					}
				}) {
					visits.Done()
				}
			case <-timer.C:
				over = true
			case <-ctx.Done():
				timer.Stop()
				return ctx.Err()
			}
		}
	}
	return nil
}

// searchMemory is search where there are no datagrams: who is there is asked, one after the other.
func (d *discovery) searchMemory(ctx context.Context, name string, visit func(context.Context, wire.ID, Location)) {
	vctx, cancel := context.WithTimeoutCause(ctx, d.rt.cfg.MsgTimeout+time.Second, ErrTimeout)
	defer cancel()
	for _, near := range d.rt.cfg.host.Near() {
		o := near.(*Runtime)
		if o == d.rt || o.cfg.UDPPort != d.rt.cfg.UDPPort || o.cfg.Secret != d.rt.cfg.Secret {
			continue
		}
		if name == "" || o.named(name) != nil || o.channels.named(name) != nil {
			visit(vctx, o.id, o.loc)
		}
	}
}

// ask sends one question.
func (d *discovery) ask(a *lan.Asker, question wire.ID, name string) error {
	b, err := d.encode(wire.DatagramQuestion, question, name)
	if err != nil {
		return err
	}
	return a.Send(b)
}

// encode makes a datagram of this runtime.
func (d *discovery) encode(kind wire.DatagramKind, question wire.ID, name string) ([]byte, error) {
	g := &wire.Datagram{Kind: kind, Question: question, Time: time.Now(), From: d.rt.id, Port: d.tcpPort(), Name: name}
	if d.local() {
		g.Addr = d.listen
	}
	return d.rt.cfg.protect.EncodeDatagram(g)
}

// tcpPort is where the runtime listens, whatever it announces: answers go to the local network.
func (d *discovery) tcpPort() int {
	tcp, _ := d.rt.net.Addr().(*net.TCPAddr)
	return tcp.Port
}

// hearAnswers reads the answers to the questions of one search. It ends when the socket is closed.
func (d *discovery) hearAnswers(conn *net.UDPConn, asked map[wire.ID]bool, answers chan<- found) {
	d.readAll(conn, func(g *wire.Datagram, from netip.AddrPort) {
		if g.Kind != wire.DatagramAnswer || !asked[g.Question] {
			return
		}
		select {
		case answers <- found{id: g.From, at: whereIs(g, from.Addr())}:
		default: // it will answer the next question
		}
	})
}

// whereIs returns where to dial a runtime that has answered: the address that the datagram came
// from, whatever the datagram says. Otherwise one datagram could make a whole network dial anybody.
// Only the loopback address that it names is used, when it came from this machine.
func whereIs(g *wire.Datagram, from netip.Addr) Location {
	if from.IsLoopback() && g.Addr.IsValid() {
		from = g.Addr // loopback, too
	}
	return Location{Addr: from.String(), Port: g.Port}
}

// answerAll owns a socket, and answers the questions that come to it. It ends when that is closed.
func (d *discovery) answerAll(conn *net.UDPConn) {
	if d.rt.cfg.protect.Ready(d.rt.ctx) != nil {
		return
	}
	d.readAll(conn, func(g *wire.Datagram, from netip.AddrPort) {
		if d.mayAnswer(g, from.Addr(), time.Now()) {
			if err := d.answer(conn, g, from); err != nil {
				d.rt.log.Debug("cannot answer a question of the local network", slog.String("peer", from.String()), slog.Any("err", err))
			}
		}
	})
}

// readAll reads the datagrams that come to a socket until that is closed, and hands over those that are for us.
func (d *discovery) readAll(conn *net.UDPConn, handle func(g *wire.Datagram, from netip.AddrPort)) {
	buf := make([]byte, wire.MaxDatagram+1)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			if errors.Is(err, net.ErrClosed) || d.rt.pause(10*time.Millisecond) != nil {
				return
			}
			continue // what did not fit, or a complaint about what was sent before
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if d.local() && !from.Addr().IsLoopback() {
			continue
		}
		g, err := d.rt.cfg.protect.DecodeDatagram(buf[:n])
		if err != nil {
			d.tellIgnored(from, err)
			continue
		}
		if g.From != d.rt.id {
			handle(g, from)
		}
	}
}

// tellIgnored tells of a datagram that is not for us, at times.
func (d *discovery) tellIgnored(from netip.AddrPort, err error) {
	if more, due := d.rt.warnings.Due("datagrams", time.Now()); due {
		d.rt.log.Debug("ignored a datagram", slog.String("peer", from.String()), slog.Any("err", err), slog.Int("more", more))
	}
}

// mayAnswer reports whether a datagram is a question that this runtime answers.
func (d *discovery) mayAnswer(g *wire.Datagram, from netip.Addr, now time.Time) bool {
	if g.Kind != wire.DatagramQuestion || g.Name != "" && d.rt.named(g.Name) == nil && d.rt.channels.named(g.Name) == nil {
		return false
	}
	if age := now.Sub(g.Time); age > datagramAge || age < -datagramAge {
		d.tellIgnored(netip.AddrPortFrom(from, 0), fmt.Errorf("a question of %v: the clocks differ, or somebody repeats it", g.Time))
		return false
	}
	return d.asked.add(g.Question, from, now) && lan.IsNear(from)
}

// answer answers a question, from the address that the runtime listens on where that is only one.
func (d *discovery) answer(conn *net.UDPConn, g *wire.Datagram, to netip.AddrPort) error {
	b, err := d.encode(wire.DatagramAnswer, g.Question, "")
	if err != nil {
		return err
	}
	if !d.local() && !d.listen.IsUnspecified() {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(d.listen, 0)))
		if err != nil {
			return err
		}
		defer conn.Close()
	}
	_, err = conn.WriteToUDPAddrPort(b, to)
	return err
}

// questions are those that were answered of late. Each is answered once, by whichever way it comes, and repeated by whomever;
// and only so many in a second.
type questions struct {
	mu     sync.Mutex // guards following; leaf
	second int64
	total  int                   // in this second
	from   map[netip.Addr]int    // in this second
	seen   map[wire.ID]time.Time // when; as long as their time is good
	swept  time.Time
}

// add books a question; it reports false when it is not to be answered.
func (q *questions) add(id wire.ID, from netip.Addr, now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.seen == nil {
		q.from, q.seen = map[netip.Addr]int{}, map[wire.ID]time.Time{}
	}
	if s := now.Unix(); s != q.second {
		q.second, q.total = s, 0
		clear(q.from)
	}
	if now.Sub(q.swept) > datagramAge {
		q.swept = now
		maps.DeleteFunc(q.seen, func(_ wire.ID, at time.Time) bool { return now.Sub(at) > 2*datagramAge })
	}
	if _, known := q.seen[id]; known || q.total >= maxAnswers1s || q.from[from] >= maxAnswersTo {
		return false
	}
	q.total++
	q.from[from]++
	q.seen[id] = now
	return true
}
