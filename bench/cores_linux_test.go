package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// Bare TCP between two cores. Left alone, the system mostly keeps both sides of a ping-pong on one core, where a wake-up costs less
// than half as much; who has more than one thread has no such choice.

// cpuSet is a set of CPUs as the system takes it.
type cpuSet [16]uint64

func affinity(call uintptr, set *cpuSet) error {
	if _, _, errno := syscall.RawSyscall(call, 0, unsafe.Sizeof(*set), uintptr(unsafe.Pointer(set))); errno != 0 {
		return errno
	}
	return nil
}

// onCore runs f on a thread of its own, which stays on the nth of the cores that this process may use.
func onCore(n int, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with this goroutine
		var all, one cpuSet
		err := affinity(syscall.SYS_SCHED_GETAFFINITY, &all)
		for cpu := range 64 * len(all) {
			if all[cpu/64]&(1<<(cpu%64)) == 0 {
				continue
			}
			if n == 0 {
				one[cpu/64] = 1 << (cpu % 64)
			}
			n--
		}
		switch {
		case err == nil && n >= 0:
			err = errors.New("there is one core only")
		case err == nil:
			err = affinity(syscall.SYS_SCHED_SETAFFINITY, &one)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// blockingConn is a connection whose reads and writes block the thread, without Go's poller.
type blockingConn int

func newBlockingConn(conn net.Conn) (blockingConn, error) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return 0, fmt.Errorf("a %T", conn)
	}
	file, err := tcp.File()
	if err != nil {
		return 0, err
	}
	defer file.Close()
	fd, err := syscall.Dup(int(file.Fd()))
	if err != nil {
		return 0, err
	}
	return blockingConn(fd), syscall.SetNonblock(fd, false)
}

func (c blockingConn) Read(p []byte) (int, error) {
	n, err := syscall.Read(int(c), p)
	if n == 0 && err == nil {
		err = io.EOF
	}
	return max(n, 0), err
}

func (c blockingConn) Write(p []byte) (int, error) { return syscall.Write(int(c), p) }

func (c blockingConn) close() { _ = syscall.Close(int(c)) }

// echoOnCore is echo on the second core.
func echoOnCore(conn net.Conn) error {
	c, err := newBlockingConn(conn)
	if err != nil {
		return err
	}
	defer c.close()
	return onCore(1, func() error { return echo(c) })
}

// pingPongOnCores is pingPong between two cores.
func (y *yardstick) pingPongOnCores(b *testing.B, n int) time.Duration {
	b.Helper()
	c, err := newBlockingConn(y.cores)
	if err != nil {
		b.Fatal(err)
	}
	defer c.close()
	buf := make([]byte, 64)
	var took time.Duration
	err = onCore(0, func() error {
		start := time.Now()
		for i := range n {
			binary.BigEndian.PutUint64(buf, uint64(i))
			if _, err := c.Write(buf); err != nil {
				return err
			}
			if _, err := io.ReadFull(c, buf); err != nil {
				return err
			}
			if got := binary.BigEndian.Uint64(buf); got != uint64(i) {
				return fmt.Errorf("sent %d, got %d", i, got)
			}
		}
		took = time.Since(start)
		return nil
	})
	if err != nil {
		b.Skip("no ping-pong between two cores: ", err)
	}
	return took
}
