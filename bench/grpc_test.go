package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/discoro/discoro/bench/pb"
)

// The work as gRPC does it: a unary call, or a stream for each sender.

func pbSmall(i int) *pb.Small { return &pb.Small{Id: int64(i), Name: name16, Value: float64(i) / 4} }

func isSmall(m *pb.Small, i int) bool {
	return m.GetId() == int64(i) && Small{int(m.GetId()), m.GetName(), m.GetValue()}.right()
}

type grpcService struct{ pb.UnimplementedBenchServer }

func serveGRPC(ln net.Listener) {
	s := grpc.NewServer()
	pb.RegisterBenchServer(s, grpcService{})
	report(s.Serve(ln))
}

// Call answers with what it was asked.
func (grpcService) Call(_ context.Context, m *pb.Small) (*pb.Small, error) { return m, nil }

// Echo sends back what comes.
func (grpcService) Echo(stream grpc.BidiStreamingServer[pb.Small, pb.Small]) error {
	for {
		m, err := stream.Recv()
		if err != nil {
			return nil // the benchmark is over
		}
		if err := stream.Send(m); err != nil {
			return err
		}
	}
}

// Count counts what comes.
func (grpcService) Count(stream grpc.ClientStreamingServer[pb.Small, pb.Done]) error {
	var done pb.Done
	for {
		m, err := stream.Recv()
		switch {
		case err == io.EOF:
			return stream.SendAndClose(&done)
		case err != nil:
			return err
		}
		done.Count++
		done.Sum += m.GetId()
		if !isSmall(m, int(m.GetId())) {
			done.Wrong++
		}
	}
}

// CountBlobs counts large messages.
func (grpcService) CountBlobs(stream grpc.ClientStreamingServer[pb.Blob, pb.Done]) error {
	var done pb.Done
	for {
		m, err := stream.Recv()
		switch {
		case err == io.EOF:
			return stream.SendAndClose(&done)
		case err != nil:
			return err
		}
		number := blobNumber(m.GetData())
		if number != int(done.GetCount()) {
			done.Wrong++
		}
		done.Count++
		done.Sum += int64(number)
	}
}

type grpcPeer struct {
	conn   *grpc.ClientConn
	client pb.BenchClient
	echo   grpc.BidiStreamingClient[pb.Small, pb.Small]
}

func dialGRPC(b *testing.B, addr string) *grpcPeer {
	b.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	p := &grpcPeer{conn: conn, client: pb.NewBenchClient(conn)}
	if p.echo, err = p.client.Echo(context.Background()); err != nil {
		b.Fatal(err)
	}
	return p
}

func (p *grpcPeer) call(i int) error {
	got, err := p.client.Call(context.Background(), pbSmall(i))
	if err == nil && !isSmall(got, i) {
		err = fmt.Errorf("sent %d, got %v", i, got)
	}
	return err
}

func (p *grpcPeer) pingPong(b *testing.B, n int) time.Duration {
	b.Helper()
	return sequential(b, n, p.call)
}

func (p *grpcPeer) streamPingPong(b *testing.B, n int) time.Duration {
	b.Helper()
	return sequential(b, n, func(i int) error {
		if err := p.echo.Send(pbSmall(i)); err != nil {
			return err
		}
		got, err := p.echo.Recv()
		if err == nil && !isSmall(got, i) {
			err = fmt.Errorf("sent %d, got %v", i, got)
		}
		return err
	})
}

func (p *grpcPeer) ask(b *testing.B, n int) time.Duration {
	b.Helper()
	return concurrent(b, n, inFlight, p.call)
}

func (p *grpcPeer) oneWay(b *testing.B, n int) time.Duration {
	b.Helper()
	return p.streams(b, n, 1)
}

func (p *grpcPeer) manyToMany(b *testing.B, n int) time.Duration {
	b.Helper()
	return p.streams(b, n, pairs)
}

// streams sends n messages over so many streams of the one connection.
func (p *grpcPeer) streams(b *testing.B, n, over int) time.Duration {
	b.Helper()
	var mu sync.Mutex
	var all pb.Done
	start := time.Now()
	var wg sync.WaitGroup
	for s := range over {
		wg.Go(func() {
			stream, err := p.client.Count(context.Background())
			if err != nil {
				b.Error(err)
				return
			}
			for i := range share(n, over, s) {
				if err := stream.Send(pbSmall(i*over + s)); err != nil {
					b.Error(err)
					return
				}
			}
			done, err := stream.CloseAndRecv()
			if err != nil {
				b.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			all.Count, all.Sum, all.Wrong = all.Count+done.Count, all.Sum+done.Sum, all.Wrong+done.Wrong
		})
	}
	wg.Wait()
	took := time.Since(start)
	if err := check(n, int(all.Count), int(all.Sum), int(all.Wrong)); err != nil {
		b.Fatal(err)
	}
	return took
}

func (p *grpcPeer) blobs(b *testing.B, n int) time.Duration {
	b.Helper()
	blob := make([]byte, blobSize)
	start := time.Now()
	stream, err := p.client.CountBlobs(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	for i := range n {
		binary.BigEndian.PutUint64(blob, uint64(i)) // Send has encoded it when it returns
		if err := stream.Send(&pb.Blob{Data: blob}); err != nil {
			b.Fatal(err)
		}
	}
	done, err := stream.CloseAndRecv()
	took := time.Since(start)
	if err == nil {
		err = check(n, int(done.Count), int(done.Sum), int(done.Wrong))
	}
	if err != nil {
		b.Fatal(err)
	}
	return took
}

// busy is what each of n calls took while large messages stream.
func (p *grpcPeer) busy(b *testing.B, n int) []float64 {
	b.Helper()
	stream, err := p.client.CountBlobs(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	flow := newFlow()
	flow.run(func(i int) error { return stream.Send(&pb.Blob{Data: newBlob(i)}) })
	took := flow.measure(b, n, p.call)
	if done, err := stream.CloseAndRecv(); err != nil || done.Wrong > 0 {
		b.Fatal(done, err)
	}
	return took
}
