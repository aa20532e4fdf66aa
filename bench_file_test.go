package discoro_test

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

	"github.com/discoro/discoro"
)

// What sending a file to another process costs, beside io.Copy from a file to a connection and from that to a file. Run them with
//
//	go test -run '^$' -bench File -benchtime 10x
//
// Both write to the folder for temporary files; where that is a disk, much of what is measured is the disk. The file has 1
// GiB, 16 MiB with -short, or as many MiB as the environment says.

// fileMiBEnv says how large the file is.
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

// benchFile makes the file, which is not one of holes.
func benchFile(b *testing.B, size int64) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "file")
	f, err := os.Create(path)
	if err == nil {
		_, err = io.CopyN(f, rand.Reader, size)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		b.Fatal(err)
	}
	return path
}

// BenchmarkFile is SendFile to another process, in the speed of io.Copy over bare TCP: at least 0.7 of it. With a secret, in that
// over TLS: at least 0.7 of that, too. An operation is a MiB. Memory is what either process has taken at most, beyond
// what it had before the first file.
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
			byTurns(b, int(size>>20), "of-io.Copy", false,
				func(int) time.Duration {
					start := time.Now()
					if err := p.rt.SendFile(b.Context(), at, path, discoro.FileOptions{Overwrite: true}); err != nil {
						b.Fatal(err)
					}
					return time.Since(start)
				},
				func(int) time.Duration {
					start := time.Now()
					if err := p.yardFile(kind, path, size); err != nil {
						b.Fatal(err)
					}
					return time.Since(start)
				})
			b.ReportMetric(float64(size)/(1<<20)/(1<<10), "GiB")
			after := p.peaks(b)
			b.ReportMetric(float64(after[0]-before[0])/1024, "sender-MiB")
			b.ReportMetric(float64(after[1]-before[1])/1024, "receiver-MiB")
		})
	}
}

// peaks is the most memory that this process and the other have taken until now, in KiB; nothing where the system does not say.
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

// yardFile sends a file with io.Copy over a connection of its own, and waits until the other side has written it.
func (p *linkPeer) yardFile(kind byte, path string, size int64) error {
	conn, err := net.Dial("tcp", p.tcpEcho.RemoteAddr().String())
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte{kind}); err != nil {
		return err
	}
	if kind == yardFileTLS {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := conn.Write(binary.BigEndian.AppendUint64(nil, uint64(size))); err != nil {
		return err
	}
	if _, err := io.Copy(conn, f); err != nil {
		return err
	}
	var answer [8]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return err
	}
	if n := int64(binary.BigEndian.Uint64(answer[:])); n != size {
		return fmt.Errorf("%d of %d bytes were written", n, size)
	}
	return nil
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

// serveYardFileTLS is serveYardFile over TLS, with a certificate that nobody checks.
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
	return serveYardFile(tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: key}}}))
}
