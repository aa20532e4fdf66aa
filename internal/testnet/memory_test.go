package testnet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// connsInMemory returns the two ends of a connection in memory.
func connsInMemory(n *Network) (near, far *memConn) {
	return connectMemory(n.Host("a"), n.Host("b"), "a:1", "b:2")
}

func TestStreamsInMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, far := connsInMemory(NewInMemory())
		accepted := make(chan net.Conn)
		go func() {
			s, err := far.end.Accept()
			if err != nil {
				t.Error(err)
			}
			accepted <- s
		}()
		out, err := near.end.Open()
		if err != nil {
			t.Fatal(err)
		}
		in := <-accepted
		sent := bytes.Repeat([]byte("0123456789"), memWindow/5) // twice what the stream holds
		wrote := make(chan error, 1)
		go func() {
			_, err := out.Write(sent)
			wrote <- errors.Join(err, out.Close())
		}()
		synctest.Wait()
		select {
		case err := <-wrote:
			t.Errorf("all was written at once: %v", err)
		default:
		}
		got, err := io.ReadAll(in)
		if err := errors.Join(err, <-wrote); err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%d bytes of %d came, %v", len(got), len(sent), err)
		}
		if _, err := in.Write([]byte("after")); err != nil { // only one direction has ended
			t.Error(err)
		}
		_ = in.Close()
		if got, err := io.ReadAll(out); string(got) != "after" || err != nil {
			t.Errorf("%q came, %v", got, err)
		}
		if _, err := out.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("wrote to a closed stream: %v", err)
		}
		if near, far := len(near.end.streams), len(far.end.streams); near != 1 || far != 1 {
			t.Errorf("%d and %d streams are left, want the first of each side", near, far)
		}
		_ = near.Close()
		if _, err := far.end.Accept(); !errors.Is(err, io.EOF) {
			t.Errorf("accepted from a closed end: %v", err)
		}
		if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("read from a closed end: %v", err)
		}
		if _, err := far.Write(make([]byte, 1)); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("wrote to a closed end: %v", err)
		}
		if _, err := near.end.Open(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("opened at a closed end: %v", err)
		}
	})
}

// TestDeadlines moves deadlines while a Read or Write waits.
func TestDeadlines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, far := connsInMemory(NewInMemory())
		defer near.Close()
		defer far.Close()
		start := time.Now()
		_ = near.SetReadDeadline(start.Add(time.Second))
		go func() { _ = near.SetReadDeadline(start.Add(3 * time.Second)) }()
		_, err := near.Read(make([]byte, 1))
		if took := time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || took != 3*time.Second {
			t.Errorf("%v after %v", err, took)
		}
		_, err = near.Read(make([]byte, 1)) // it has passed
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		_ = near.SetDeadline(time.Time{})
		go func() {
			<-time.After(time.Hour)
			_ = near.SetDeadline(time.Unix(1, 0))
		}()
		_, err = near.Write(make([]byte, 2*memWindow))
		if took := time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || took != time.Hour+3*time.Second {
			t.Errorf("%v after %v", err, took)
		}
		_ = near.SetDeadline(time.Time{})
		go func() {
			_, err := io.CopyN(io.Discard, far, 2*memWindow)
			if err != nil {
				t.Error(err)
			}
		}()
		if n, err := near.Write(make([]byte, memWindow)); err != nil || n != memWindow {
			t.Errorf("%d bytes written, %v", n, err)
		}
		synctest.Wait()
		if got := fmt.Sprint(near.LocalAddr(), far.LocalAddr(), near.RemoteAddr()); got != "a:1 b:2 b:2" {
			t.Errorf("addresses %s", got)
		}
	})
}
