package discoro

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/discoro/discoro/internal/cli"
	"github.com/discoro/discoro/internal/files"
	"github.com/discoro/discoro/wire"
)

// serverEnv marks a process as a server of a node. Its configuration, which includes the secret,
// comes on standard input: neither the list of processes nor the environment shows it.
//
// Standard input stays open as long as the node lives. However the node ends, its servers see the
// end of the input, and end as well. When the node ends a server in order, it writes processStop
// first. Without that the node was killed, and the last of its servers removes the node's folder.
const serverEnv = "DISCORO_SERVER_PROCESS"

// initCalled is set when Init has run in a process that is no server.
var initCalled atomic.Bool

// processConfig is the configuration of a server process.
type processConfig struct {
	Index                     int
	Nonce                     wire.Token // goes back in ServerUp, which any runtime could send
	Node                      string
	Name, Addr, ExtAddr       string
	TCPPort, UDPPort          int
	Secret                    string
	CertFile, KeyFile, CAFile string
	Insecure                  bool
	DestPath                  string // in the node's folder, which its last orphan removes
	MaxFileSize               int64
	MaxMessage, MaxMailbox    int
	MsgTimeout                time.Duration
	Debug                     bool // the node logs at level Debug
}

// Init makes this process a server when a node has started it as one, and then does not return. In
// every other process it does nothing. A program that uses NodeConfig.Processes must call Init
// first in main, before it parses flags or starts anything. Its tests must call Init in TestMain.
func Init() {
	if os.Getenv(serverEnv) == "" {
		initCalled.Store(true)
		return
	}
	// A process that a user's function starts is no server.
	if err := os.Unsetenv(serverEnv); err != nil {
		fatal(err)
	}
	// Ctrl-C and the end of a terminal reach all its processes, and a service manager may signal
	// all processes of a service. A server ignores them, because its node decides. SIGPIPE comes
	// when the reader of the output has gone.
	signal.Notify(make(chan os.Signal, 1), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	if err := serveProcess(os.Stdin); err != nil {
		fatal(err)
	}
	os.Exit(0)
}

// fatal ends the process with an error.
func fatal(err error) {
	fmt.Fprintln(os.Stderr, "discoro: server process:", strings.TrimPrefix(err.Error(), "discoro: "))
	os.Exit(1)
}

// serveProcess runs a server until standard input ends, or the link to the node.
func serveProcess(stdin io.Reader) error {
	dec := json.NewDecoder(stdin)
	var pc processConfig
	if err := dec.Decode(&pc); err != nil {
		return fmt.Errorf("the node's instructions cannot be read (is %s set by hand?): %w", serverEnv, err)
	}
	var log *slog.Logger
	if pc.Debug {
		log = cli.DebugLogger()
	}
	input := make(chan []byte, 1)
	go func() { // ends with the process, or when the node ends
		rest, _ := io.ReadAll(io.MultiReader(dec.Buffered(), stdin))
		input <- bytes.TrimSpace(rest)
	}()
	s, err := newServer(ServerConfig{
		Config: Config{
			Logger: log, Name: pc.Name, Addr: pc.Addr, ExtAddr: pc.ExtAddr, TCPPort: pc.TCPPort, UDPPort: pc.UDPPort,
			Secret: pc.Secret, CertFile: pc.CertFile, KeyFile: pc.KeyFile, CAFile: pc.CAFile, Insecure: pc.Insecure,
			DestPath: pc.DestPath, MaxFileSize: pc.MaxFileSize,
			MaxMessage: pc.MaxMessage, MaxMailbox: pc.MaxMailbox, MsgTimeout: pc.MsgTimeout,
		},
		Node: pc.Node, index: pc.Index, nonce: pc.Nonce,
	})
	if err == nil {
		select {
		case rest := <-input:
			input <- rest
		case <-s.loop.left:
		}
		err = s.Close()
	}
	if orphaned(input) { // this may be before the server is up
		_ = os.Remove(filepath.Dir(pc.DestPath)) // this fails until the last orphan does it
	}
	return err
}

// orphaned reports whether the node was killed: standard input has ended without processStop.
func orphaned(input <-chan []byte) bool {
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case rest := <-input:
		return string(rest) != processStop
	case <-timer.C:
		return false // the node lives
	}
}

// processStop is what the node writes to a server's standard input before it closes that.
const processStop = `"stop"`

// hostServer starts a server for a slot. The loop's hostEnded is called when the server has ended.
func (l *nodeLoop) hostServer(s *serverSlot) (serverHost, error) {
	cfg := l.cfg.Config
	if !cfg.inMemory() { // there is no such port
		if err := portFree(l.rt.net.Addr(), s.port); err != nil {
			return nil, err
		}
	}
	cfg.Name = l.rt.cfg.Name + "-" + strconv.Itoa(s.index+1)
	cfg.TCPPort = s.port
	cfg.Peers = nil
	cfg.DestPath = filepath.Join(l.folder, "server-"+strconv.Itoa(s.index+1))
	index, nonce := s.index, s.nonce
	ended := func(how string) {
		if e := files.RemoveAll(cfg.DestPath); e != nil {
			l.rt.log.Warn("cannot remove a server's folder", slog.Any("err", e))
		}
		l.asks.Put(func(l *nodeLoop) { l.hostEnded(s, nonce, how) })
	}
	if l.cfg.Processes {
		return l.startProcess(cfg, index, nonce, ended)
	}
	h := &runtimeHost{hosted: &l.hosted, ended: ended, stopped: make(chan struct{})}
	l.rt.start(func() {
		h.run(ServerConfig{Config: cfg, Node: l.rt.loopback(), index: index, nonce: nonce})
	})
	return h, nil
}

// loopback returns the location at which this machine reaches the runtime.
func (rt *Runtime) loopback() string {
	host := rt.cfg.listen
	if host == "" {
		host = "127.0.0.1"
	}
	return Location{Addr: host, Port: rt.loc.Port}.String()
}

// runtimeHost is a server that is a runtime in this process.
type runtimeHost struct {
	hosted  *hosted       // immutable: the node's
	ended   func(string)  // immutable: is called with how it has ended
	once    sync.Once     // closes stopped
	stopped chan struct{} // closed by stop and kill
	killed  atomic.Bool   // set by kill
}

// run is the server's goroutine. It ends when the server has closed.
func (h *runtimeHost) run(cfg ServerConfig) {
	s, err := newServer(cfg)
	if err != nil {
		h.ended(fmt.Sprintf("did not start: %v", err))
		return
	}
	h.hosted.add(s.rt)
	defer h.hosted.remove(s.rt)
	select {
	case <-h.stopped:
	case <-s.loop.left:
	}
	how := "closed"
	if h.killed.Load() {
		how = "was killed"
		s.rt.net.Sever(errors.New("the server was killed"))
	}
	if err := s.Close(); err != nil {
		how += fmt.Sprintf(": %v", err)
	}
	h.ended(how)
}

// hosted are the servers of a node that run in the node's process, until they have closed.
type hosted struct {
	mu sync.Mutex // guards following; leaf
	of map[*Runtime]bool
}

func (h *hosted) add(rt *Runtime) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.of == nil {
		h.of = map[*Runtime]bool{}
	}
	h.of[rt] = true
}

func (h *hosted) remove(rt *Runtime) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.of, rt)
}

func (h *hosted) all() []*Runtime {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Keys(h.of))
}

// stop closes the server.
func (h *runtimeHost) stop() { h.once.Do(func() { close(h.stopped) }) }

// kill ends the server's links without a Bye, and closes it. Coroutines cannot be killed: they are
// terminated.
func (h *runtimeHost) kill() {
	h.killed.Store(true)
	h.stop()
}

// processHost is a server that is a process.
type processHost struct {
	rt    *Runtime // immutable: the node's
	cmd   *exec.Cmd
	stdin io.WriteCloser // closing it ends the server
	once  sync.Once
}

// startProcess starts this program once more, as a server.
func (l *nodeLoop) startProcess(cfg Config, index int, nonce wire.Token, ended func(string)) (serverHost, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe, "discoro-server", cfg.Name)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), isSecret), serverEnv+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start a server process: %w", err), stdin.Close())
	}
	h := &processHost{rt: l.rt, cmd: cmd, stdin: stdin}
	err = json.NewEncoder(stdin).Encode(processConfig{ // this does not block: a pipe has room for it
		Index: index, Nonce: nonce, Node: l.rt.loopback(), Name: cfg.Name, Addr: cfg.Addr, ExtAddr: cfg.ExtAddr,
		Secret: cfg.Secret, CertFile: cfg.CertFile, KeyFile: cfg.KeyFile, CAFile: cfg.CAFile, Insecure: cfg.Insecure,
		TCPPort: cfg.TCPPort, UDPPort: cfg.UDPPort, DestPath: cfg.DestPath, MaxFileSize: cfg.MaxFileSize,
		MaxMessage: cfg.MaxMessage, MaxMailbox: cfg.MaxMailbox, MsgTimeout: cfg.MsgTimeout,
		Debug: l.rt.log.Enabled(l.rt.ctx, slog.LevelDebug),
	})
	if err != nil {
		h.kill()
	}
	l.rt.start(func() {
		ended(howEnded(cmd.Wait()))
	})
	return h, nil
}

// isSecret reports whether a variable of the environment is the secret. Processes that users'
// functions start must not have it.
func isSecret(variable string) bool { return strings.HasPrefix(variable, cli.EnvName("secret")+"=") }

// howEnded says how a process has ended. err is that of Wait.
func howEnded(err error) string {
	if err == nil {
		return "exited with status 0"
	}
	return "ended: " + err.Error()
}

// stop asks the server to end, and kills it when it has not ended after the grace periods.
func (h *processHost) stop() {
	h.once.Do(func() {
		_, _ = io.WriteString(h.stdin, processStop+"\n") // this does not block: a pipe has room for it
		_ = h.stdin.Close()                              // which loses nothing that was written to a pipe
		time.AfterFunc(h.rt.grace+closeGrace-time.Second, h.kill)
	})
}

// kill ends the server at once. It does nothing when the process has exited.
func (h *processHost) kill() { _ = h.cmd.Process.Kill() }
