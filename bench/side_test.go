package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/rpc"
	"os"
	"os/exec"
	"testing"

	"github.com/hashicorp/yamux"
)

// The other side is this program again, with everything that is measured.

// sideEnv makes this program the other side.
const sideEnv = "DISCORO_BENCH_SIDE"

// sideAddrs is where the other side listens.
type sideAddrs struct{ Discoro, Secret, Yardsticks, GRPC, Proto string }

func report(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "other side:", err)
	}
}

// serveSide prints where it listens, and ends with its standard input.
func serveSide() error {
	plain, err := serveDiscoro("")
	if err != nil {
		return err
	}
	secret, err := serveDiscoro(benchSecret)
	if err != nil {
		return err
	}
	yardsticks, err := listen()
	if err != nil {
		return err
	}
	go serveYardsticks(yardsticks)
	ln, err := listen()
	if err != nil {
		return err
	}
	go serveGRPC(ln)
	proto, err := serveProto()
	if err != nil {
		return err
	}
	addrs := sideAddrs{plain.Location().String(), secret.Location().String(), yardsticks.Addr().String(), ln.Addr().String(), proto}
	if err := json.NewEncoder(os.Stdout).Encode(addrs); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, plain.Close(), secret.Close()) // their folders for files go, too
}

// side is the other side as seen from here.
type side struct {
	cmd   *exec.Cmd
	stdin io.Closer

	plain, secret *discoroPeer
	tcp, yamux    *yardstick
	rpc           *rpcPeer
	grpc          *grpcPeer
	proto         *protoPeer
}

// theSide is started by the first benchmark that wants it, and ended by TestMain.
var theSide *side

func startSide(b *testing.B) *side {
	b.Helper()
	if theSide != nil {
		return theSide
	}
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env, cmd.Stderr = append(os.Environ(), sideEnv+"=1"), os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	var addrs sideAddrs
	if err := json.NewDecoder(out).Decode(&addrs); err != nil {
		b.Fatal(err)
	}
	dial := func() (net.Conn, error) { return net.Dial("tcp", addrs.Yardsticks) }
	session, err := yamux.Client(dialFor(b, forYamux, dial), yamuxConfig())
	if err != nil {
		b.Fatal(err)
	}
	theSide = &side{
		cmd: cmd, stdin: in,
		plain: dialDiscoro(b, addrs.Discoro, ""), secret: dialDiscoro(b, addrs.Secret, benchSecret),
		tcp: dialYardstick(b, dial), yamux: dialYardstick(b, session.Open),
		rpc:   &rpcPeer{rpc.NewClient(dialFor(b, forRPC, dial))},
		grpc:  dialGRPC(b, addrs.GRPC),
		proto: newProtoPeer(addrs.Proto),
	}
	theSide.tcp.cores = dialFor(b, forCore, dial)
	return theSide
}

// stop ends the other side; what is left here ends with this process.
func (s *side) stop() error {
	_ = s.stdin.Close() // its end is what counts
	return s.cmd.Wait()
}

func TestMain(m *testing.M) {
	if os.Getenv(sideEnv) != "" {
		if err := serveSide(); err != nil {
			report(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if theSide != nil {
		report(theSide.stop())
	}
	printTable(os.Stdout)
	os.Exit(code)
}
