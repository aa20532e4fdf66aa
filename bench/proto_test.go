package bench

import (
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/discoro/discoro/bench/pb"
)

// The work as protoactor-go does it, from actor to actor. It puts up to 1000 messages into one of gRPC's, which large
// ones make larger than gRPC takes by default: that limit is raised.

const protoMost = 256 << 20

func newSystem() *actor.ActorSystem {
	return actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelError}))
	}))
}

func startRemote(system *actor.ActorSystem) *remote.Remote {
	r := remote.NewRemote(system, remote.Configure("127.0.0.1", 0,
		remote.WithServerOptions(grpc.MaxRecvMsgSize(protoMost)),
		remote.WithDialOptions(grpc.WithTransportCredentials(insecure.NewCredentials()))))
	r.Start()
	return r
}

// serveProto starts the other side's actors and returns where they are.
func serveProto() (string, error) {
	system := newSystem()
	startRemote(system)
	named := map[string]*actor.Props{"echo": actor.PropsFromFunc(echoActor), "bulk": actor.PropsFromProducer(newSinkActor)}
	for i := range pairs {
		named["sink-"+strconv.Itoa(i)] = actor.PropsFromProducer(newSinkActor)
	}
	for name, props := range named {
		if _, err := system.Root.SpawnNamed(props, name); err != nil {
			return "", err
		}
	}
	return system.Address(), nil
}

func echoActor(ctx actor.Context) {
	if m, ok := ctx.Message().(*pb.Small); ok {
		ctx.Respond(m)
	}
}

// sinkActor counts messages.
type sinkActor struct {
	from  *actor.PID
	n     int64
	mixed bool
	done  *pb.Done
}

func newSinkActor() actor.Actor { return &sinkActor{} }

// Receive implements actor.Actor.
func (s *sinkActor) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *pb.Start:
		s.from, s.n, s.mixed, s.done = ctx.Sender(), m.GetN(), m.GetMixed(), &pb.Done{}
	case *pb.Small:
		s.took(ctx, m.GetId(), isSmall(m, int(m.GetId())))
	case *pb.Blob:
		number := blobNumber(m.GetData())
		s.took(ctx, int64(number), number >= 0)
	}
}

func (s *sinkActor) took(ctx actor.Context, number int64, right bool) {
	if !right || number != s.done.Count && !s.mixed {
		s.done.Wrong++
	}
	s.done.Count++
	s.done.Sum += number
	if s.done.Count == s.n {
		ctx.Send(s.from, s.done)
	}
}

// protoPeer is the other side's actors as seen from here; without an address they are here.
type protoPeer struct {
	system     *actor.ActorSystem
	echo, bulk *actor.PID
	sinks      []*actor.PID
}

func newProtoPeer(addr string) *protoPeer {
	p := &protoPeer{system: newSystem()}
	startRemote(p.system)
	p.echo, p.bulk = actor.NewPID(addr, "echo"), actor.NewPID(addr, "bulk")
	for i := range pairs {
		p.sinks = append(p.sinks, actor.NewPID(addr, "sink-"+strconv.Itoa(i)))
	}
	return p
}

// localProto is a system with the actors in this process.
func localProto() *protoPeer {
	p := &protoPeer{system: newSystem()}
	p.echo = p.system.Root.Spawn(actor.PropsFromFunc(echoActor))
	for range pairs {
		p.sinks = append(p.sinks, p.system.Root.Spawn(actor.PropsFromProducer(newSinkActor)))
	}
	return p
}

// begin makes an actor start.
type begin struct{}

// protoPatience bounds what is waited for when something is broken.
const protoPatience = time.Minute

func await(b *testing.B, ended <-chan error) {
	b.Helper()
	select {
	case err := <-ended:
		if err != nil {
			b.Fatal(err)
		}
	case <-time.After(protoPatience):
		b.Fatal("nothing comes any more")
	}
}

func (p *protoPeer) pingPong(b *testing.B, n int) time.Duration {
	b.Helper()
	ended := make(chan error, 1)
	next := 0
	ping := p.system.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
		switch m := ctx.Message().(type) {
		case begin:
		case *pb.Small:
			if !isSmall(m, next) {
				ended <- fmt.Errorf("sent %d, got %v", next, m)
				return
			}
			next++
		default:
			return
		}
		if next == n {
			ended <- nil
			return
		}
		ctx.Request(p.echo, pbSmall(next))
	}))
	defer p.system.Root.Stop(ping)
	start := time.Now()
	p.system.Root.Send(ping, begin{})
	await(b, ended)
	return time.Since(start)
}

func (p *protoPeer) ask(b *testing.B, n int) time.Duration {
	b.Helper()
	return concurrent(b, n, inFlight, func(i int) error {
		got, err := p.system.Root.RequestFuture(p.echo, pbSmall(i), protoPatience).Result()
		if err != nil {
			return err
		}
		if m, ok := got.(*pb.Small); !ok || !isSmall(m, i) {
			return fmt.Errorf("sent %d, got %v", i, got)
		}
		return nil
	})
}

func (p *protoPeer) oneWay(b *testing.B, n int) time.Duration {
	b.Helper()
	return p.send(b, p.sinks[:1], n, 1, func(i int) any { return pbSmall(i) })
}

func (p *protoPeer) manyToMany(b *testing.B, n int) time.Duration {
	b.Helper()
	return p.send(b, p.sinks, n, pairs, func(i int) any { return pbSmall(i) })
}

func (p *protoPeer) blobs(b *testing.B, n int) time.Duration {
	b.Helper()
	return p.send(b, []*actor.PID{p.bulk}, n, 1, func(i int) any { return &pb.Blob{Data: newBlob(i)} })
}

// send sends n messages from so many actors to sinks, each in turn to all.
func (p *protoPeer) send(b *testing.B, sinks []*actor.PID, n, from int, msg func(i int) any) time.Duration {
	b.Helper()
	ended := make(chan error, 1)
	var all pb.Done
	left := len(sinks)
	start := time.Now()
	collector := p.system.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
		switch m := ctx.Message().(type) {
		case begin:
			for i, sink := range sinks {
				mine := n
				if len(sinks) > 1 {
					mine = shares(n, i)
				}
				ctx.Request(sink, &pb.Start{N: int64(mine), Mixed: from > 1})
			}
			for s := range from {
				source := ctx.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
					if _, ok := ctx.Message().(begin); ok {
						for i := range share(n, from, s) {
							ctx.Send(sinks[i%len(sinks)], msg(i*from+s))
						}
					}
				}))
				ctx.Send(source, begin{})
			}
		case *pb.Done:
			all.Count, all.Sum, all.Wrong = all.Count+m.Count, all.Sum+m.Sum, all.Wrong+m.Wrong
			if left--; left == 0 {
				ended <- check(n, int(all.Count), int(all.Sum), int(all.Wrong))
			}
		}
	}))
	defer p.system.Root.Stop(collector) // and the sources with it
	p.system.Root.Send(collector, begin{})
	await(b, ended)
	return time.Since(start)
}
