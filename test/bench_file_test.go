package test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What it costs to send a file to another process, compared with io.Copy from a file to a
// connection and from the connection to a file. Run it with
//
//	go test -run '^$' -bench File -benchtime 10x ./test
//
// With io.Copy over TCP the kernel moves the file (sendfile and splice): no byte of it enters a
// process, and nothing is checked. Both write to the folder for temporary files; where that is on a
// disk, the disk is much of what is measured. The file has 1 GiB, 16 MiB with -short, or as many
// MiB as the environment says.

// fileMiBEnv is the variable that has the size of the file in MiB.
const fileMiBEnv = "DISCORO_BENCH_FILE_MIB"

func benchFileSize(b *testing.B) int64 {
	b.Helper()
	mib := 1024
	if testing.Short() {
		mib = 16
	}
	if s := os.Getenv(fileMiBEnv); s != "" {
		var err error
		if mib, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	return int64(mib) << 20
}

// benchFile makes the file. Its bytes are random, so no file system stores it as a hole.
func benchFile(b *testing.B, size int64) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "file")
	f, err := os.Create(path)
	if err == nil {
		_, err = io.CopyN(f, rand.Reader, size)
	}
	if err == nil {
		err = f.Sync() // else the disk would write it while something is measured
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		b.Fatal(err)
	}
	return path
}

// BenchmarkFile sends a file to another process, and reports the speed as a part of that of
// io.Copy, over TCP or, with a secret, over TLS; the aim is 0.7. An operation is a MiB. The seconds
// of CPU time are those of a whole file. Memory is the most that a process had, beyond what it had
// before the first file.
func BenchmarkFile(b *testing.B) {
	for _, secret := range []string{"", "a secret for benchmarks"} {
		b.Run("secret="+strconv.FormatBool(secret != ""), func(b *testing.B) {
			size := benchFileSize(b)
			path := benchFile(b, size)
			p := startLinkPeer(b, secret)
			before := p.peaks(b)
			at := p.echo.Location()
			kind := byte(yardFile)
			if secret != "" {
				kind = yardFileTLS
			}
			var spent [3]float64
			byTurns(b, int(size>>20), "of-io.Copy", false,
				func(int) time.Duration {
					warm(b, size)
					cpu := p.cpu(b)
					start := time.Now()
					if err := p.rt.SendFile(b.Context(), at, path); err != nil {
						b.Fatal(err)
					}
					took := time.Since(start)
					now := p.cpu(b)
					spent[0], spent[1], spent[2] = spent[0]+now[0]-cpu[0], spent[1]+now[1]-cpu[1], spent[2]+1
					if err := p.rt.DeleteFile(b.Context(), at, filepath.Base(path)); err != nil {
						b.Fatal(err)
					}
					return took
				},
				func(int) time.Duration {
					warm(b, size)
					took, err := p.yardFile(kind, path, size)
					if err != nil {
						b.Fatal(err)
					}
					return took
				})
			b.ReportMetric(float64(size)/(1<<20)/(1<<10), "GiB")
			b.ReportMetric(spent[0]/spent[2], "sender-cpu-s")
			b.ReportMetric(spent[1]/spent[2], "receiver-cpu-s")
			after := p.peaks(b)
			b.ReportMetric(float64(after[0]-before[0])/1024, "sender-MiB")
			b.ReportMetric(float64(after[1]-before[1])/1024, "receiver-MiB")
		})
	}
}

// warm writes and removes a file of that size, outside the time that is measured. A virtual machine
// may have returned free memory to its host, and then waits about a second for each GiB that it
// needs again, longer for the large pages of discoro's blocks than for the small ones of io.Copy.
func warm(b *testing.B, size int64) {
	b.Helper()
	f, err := os.Create(filepath.Join(b.TempDir(), "warm"))
	if err != nil {
		b.Fatal(err)
	}
	for block := make([]byte, 64<<10); size > 0 && err == nil; size -= int64(len(block)) {
		_, err = f.Write(block)
	}
	if err := errors.Join(err, f.Close(), os.Remove(f.Name())); err != nil {
		b.Fatal(err)
	}
}

// cpu returns the seconds of CPU time of this process and of the other until now; zero where the
// system does not say.
func (p *linkPeer) cpu(b *testing.B) (seconds [2]float64) {
	b.Helper()
	for i, pid := range []int{os.Getpid(), p.pid} {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		fields := strings.Fields(string(text))
		if err != nil || len(fields) < 15 {
			b.Fatal(string(text), err)
		}
		for _, field := range fields[13:15] { // in its own code, and in the kernel
			ticks, err := strconv.Atoi(field)
			if err != nil {
				b.Fatal(err)
			}
			seconds[i] += float64(ticks) / 100
		}
	}
	return seconds
}

// peaks returns the most memory that this process and the other have had until now, in KiB; zero
// where the system does not say.
func (p *linkPeer) peaks(b *testing.B) (kib [2]int64) {
	b.Helper()
	for i, pid := range []int{os.Getpid(), p.pid} {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		_, rest, found := strings.Cut(string(text), "VmHWM:")
		if _, err := fmt.Sscan(rest, &kib[i]); err != nil || !found {
			b.Fatal(err)
		}
	}
	return kib
}

// yardFile sends a file with io.Copy over a connection of its own, and returns how long it took
// until the other side had written it. It returns when the other side has removed the file.
func (p *linkPeer) yardFile(kind byte, path string, size int64) (time.Duration, error) {
	start := time.Now()
	conn, err := net.Dial("tcp", p.tcpEcho.RemoteAddr().String())
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte{kind}); err != nil {
		return 0, err
	}
	raw := conn
	if kind == yardFileTLS {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	}
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if _, err := conn.Write(binary.BigEndian.AppendUint64(nil, uint64(size))); err != nil {
		return 0, err
	}
	if _, err := io.Copy(conn, f); err != nil {
		return 0, err
	}
	var answer [8]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return 0, err
	}
	took := time.Since(start)
	if n := int64(binary.BigEndian.Uint64(answer[:])); n != size {
		return 0, fmt.Errorf("%d of %d bytes were written", n, size)
	}
	_, err = io.Copy(io.Discard, raw)
	return took, err
}

// serveYardFile is the other side of yardFile.
func serveYardFile(conn net.Conn) error {
	var head [8]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return err
	}
	path := filepath.Join(os.TempDir(), "discoro-bench-file-"+strconv.Itoa(os.Getpid()))
	defer os.Remove(path)
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, io.LimitReader(conn, int64(binary.BigEndian.Uint64(head[:]))))
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		_, err = conn.Write(binary.BigEndian.AppendUint64(nil, uint64(n)))
	}
	return err
}

// serveYardFileTLS is serveYardFile over TLS, with a certificate that is not checked.
func serveYardFileTLS(conn net.Conn) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: key}}}
	return serveYardFile(tls.Server(conn, cfg))
}
