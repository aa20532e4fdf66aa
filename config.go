package discoro

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/seam"
	"github.com/discoro/discoro/wire"
)

// Defaults of Config and of the roles' configurations.
const (
	// DefaultMsgTimeout bounds control messages and waits for room in a link's queue.
	DefaultMsgTimeout = 10 * time.Second
	// DefaultMaxMessage bounds the encoded size of one message, argument or result, in bytes.
	DefaultMaxMessage = 64 << 20
	// MinPulseInterval is the least that a computation may ask for unless a node allows less.
	MinPulseInterval = 10 * time.Second
	// MaxPulseInterval is the most that a computation may ask for unless a node allows more.
	MaxPulseInterval = 100 * time.Second
	// DefaultZombiePeriod is how long a computation of a client elsewhere may be idle at a scheduler.
	DefaultZombiePeriod = 10 * MaxPulseInterval
)

const (
	defaultGrace = 5 * time.Second // for a terminated coroutine to end
	goodSecret   = 16              // characters of a secret, at least
	maxName      = 256             // bytes of a runtime's or coroutine's registered name
	maxMailbox   = 1 << 30         // messages
)

// Config says how a [Runtime] is reached and how it protects its links. The zero Config is a runtime that this machine
// alone can reach. Each role's configuration embeds one. The tags are the names of the options of [NodeMain] and
// [SchedulerMain].
type Config struct {
	// Name is what others see; the host's name when empty.
	Name string `json:"name"`
	// Addr is the host name or IP address to listen on and to announce. Empty: loopback, unless Secret, certificates or
	// Insecure are set; then all addresses, announcing the host's own.
	Addr string `json:"ip_addr"`
	// ExtAddr is announced in place of Addr, for peers that reach this runtime through NAT, a cloud's public address or
	// a forwarded port.
	ExtAddr string `json:"ext_ip_addr"`
	// TCPPort to listen on; 0: any free port.
	TCPPort int `json:"tcp_port"`
	// UDPPort is where runtimes ask for each other on the local network, the same everywhere: 0 is DefaultUDPPort, less
	// than 0 turns discovery off. A runtime that listens on loopback asks, and answers, this machine only. When the port
	// cannot be listened on, others do not discover this runtime, and the log tells; one that is given here is an error.
	UDPPort int `json:"udp_port"`
	// Secret protects every link: both sides must have the same, links are encrypted and each side proves to the other
	// that it knows it. At least 16 characters are advised. It is never logged.
	Secret string `json:"secret"`
	// CertFile, KeyFile and CAFile (PEM) protect links by mutual TLS: each side has a certificate signed by the CA. The
	// key may be in CertFile.
	CertFile string `json:"certfile"`
	KeyFile  string `json:"keyfile"`
	CAFile   string `json:"cafile"`
	// TLS is mutual TLS by a configuration made in the program; it needs a certificate, and ClientCAs and RootCAs.
	TLS *tls.Config `json:"-"`
	// Insecure allows a runtime with neither a secret nor certificates to be reached from other machines: whoever
	// reaches its port can run its functions.
	Insecure bool `json:"insecure"`
	// DestPath is the folder below which received files and servers' folders go. Empty: a private folder below
	// os.TempDir(), which is removed at Close. A receiver that is killed leaves files there that are not whole, ".discoro-" and digits;
	// the next runtime with this DestPath removes them when they are an hour old.
	DestPath string `json:"dest_path"`
	// MaxFileSize bounds the size of each received file, in bytes; 0: no limit. A larger one is refused, with [ErrTooLarge], before
	// any of it is sent. How many files come is not bounded, and functions may write to the same folder: what all of them may take
	// is for a disk or a quota of DestPath's own to say.
	MaxFileSize int64 `json:"max_file_size"`
	// MaxMessage bounds the encoded size of one message, argument or result, in bytes; 0: DefaultMaxMessage. It should be alike on all
	// sides: a link over which more comes than its receiver takes ends, and says so to both.
	MaxMessage int `json:"max_message"`
	// MaxMailbox bounds how many messages wait in the mailbox of each coroutine of the runtime; 0: no limit. At a full
	// mailbox [Coro.Send] from the same runtime waits for room as it does for a full link, [Coro.Deliver] and [Ask] wait until
	// their context ends, wherever they come from, and a Send from another runtime, which nobody waits for, is refused:
	// counted in [CoroState], and logged, one line a coroutine and 10 s. [Exit], [Status] and [PeerStatus] messages from the same
	// runtime, every Exit from elsewhere, and what a [Channel] brings are always taken; a coroutine that is subscribed to a
	// channel of another runtime takes every Send from elsewhere. Status and PeerStatus messages from elsewhere wait for room.
	MaxMailbox int `json:"max_mailbox"`
	// MsgTimeout bounds control messages, and a Send's wait for room in a link's queue or a mailbox; 0: DefaultMsgTimeout.
	MsgTimeout time.Duration `json:"msg_timeout"`
	// Peers are kept connected: dialled at the start and redialled, ever more rarely up to twice a minute, whenever the
	// link is down. "host:port"; a DNS name stands for all its addresses and is looked up anew at each dial.
	Peers []string `json:"peer"`
	// DiscoverPeers looks for peers on the local network at the start, once, as [Runtime.Discover] does, without waiting
	// for it. Answering others needs no option. With a secret nobody else can read, or make, the questions and answers;
	// without, whoever is on the local network can tell that a runtime is here, and at which port.
	DiscoverPeers bool `json:"discover_peers"`
	// Logger takes what the runtime has to say; nil: slog.Default(). Its handler must not call into discoro.
	Logger *slog.Logger `json:"-"`

	tuning
}

// tuning is what only this package sets, and tests through package seam.
type tuning struct {
	host      seam.Host        // in a test's network; nil: on the real network
	deaf      bool             // does not answer on the local network: a server, which is found through its node
	pulse     time.Duration    // between signs of life on a link that serves no computation; 0: MinPulseInterval
	leastPing time.Duration    // the smallest PingInterval; 0: MinPulseInterval
	now       func() time.Time // a node's time of day; nil: time.Now
}

// inMemory reports whether the runtime has connections in memory, not sockets.
func (t *tuning) inMemory() bool { return t.host != nil && t.host.InMemory() }

// lookup returns the addresses of a host's name.
func (t *tuning) lookup(ctx context.Context, name string) ([]string, error) {
	if t.host != nil {
		return t.host.Lookup(ctx, name)
	}
	return net.DefaultResolver.LookupHost(ctx, name)
}

func init() {
	seam.KillServer = func(node, loc any) error { return node.(*Node).killServer(loc.(Location)) }
	seam.Tune = func(cfg any, t seam.Tuning) {
		var to *tuning
		switch cfg := cfg.(type) {
		case *Config:
			to = &cfg.tuning
		case *ComputationConfig:
			to = &cfg.tuning
		}
		to.host = cmp.Or(t.Host, to.host)
		to.pulse = cmp.Or(t.Pulse, to.pulse)
		to.leastPing = cmp.Or(t.LeastPing, to.leastPing)
		if t.Now != nil {
			to.now = t.Now
		}
	}
}

// one returns the configuration of a constructor's optional parameter.
func one[T any](cfg []T) (T, error) {
	var c T
	switch len(cfg) {
	case 0:
		return c, nil
	case 1:
		return cfg[0], nil
	}
	return c, fmt.Errorf("discoro: %d %T given, at most one is allowed", len(cfg), c)
}

// settled is a Config with every default filled in and everything checked.
type settled struct {
	Config

	listen    string           // address to listen on; empty: all
	host      string           // announced
	reachable bool             // other machines may reach it
	protect   *wire.Protection // nil: plain links
	peers     []Location
}

// settle checks cfg and fills in defaults; it is the one place where a Config is checked.
func (cfg Config) settle() (settled, error) {
	s := settled{Config: cfg}
	s.Name = cmp.Or(s.Name, defaultName())
	if err := s.checkFields(); err != nil {
		return settled{}, err
	}
	s.MaxMessage = cmp.Or(s.MaxMessage, DefaultMaxMessage)
	s.MsgTimeout = cmp.Or(s.MsgTimeout, DefaultMsgTimeout)
	s.pulse = cmp.Or(s.pulse, MinPulseInterval)
	if s.Logger == nil {
		s.Logger = slog.Default()
	}
	certs, err := s.certificates()
	if err != nil {
		return settled{}, err
	}
	if err := s.settleAddr(s.Secret != "" || certs != nil || s.Insecure); err != nil {
		return settled{}, err
	}
	// Last: it starts to compute the secret's key.
	if s.protect, err = wire.NewProtection(wire.Secret(s.Secret), certs); err != nil {
		return settled{}, fault.Because(err, "Config")
	}
	return s, nil
}

// defaultName is the host's.
func defaultName() string {
	name, _ := os.Hostname()
	return cmp.Or(name, "discoro")
}

// badField is the error of one field.
func badField(field, format string, args ...any) error {
	return &fieldError{"Config", field, fmt.Errorf(format, args...)}
}

// fieldError is an error of one field of a configuration.
type fieldError struct {
	of, field string // the type and its field
	err       error  // what is wrong
}

// Error names the field.
func (e *fieldError) Error() string { return fmt.Sprintf("discoro: %s.%s: %v", e.of, e.field, e.err) }

// Field returns the name of the field, from which cli.Usage finds the option that sets it.
func (e *fieldError) Field() string { return e.field }

// Unwrap returns what is wrong.
func (e *fieldError) Unwrap() error { return e.err }

// checkFields checks what can be checked of each field alone.
func (s *settled) checkFields() error {
	switch {
	case len(s.Name) > maxName || !isPlainText(s.Name):
		return badField("Name", "%.40q: want at most %d bytes of printable text", s.Name, maxName)
	case s.TCPPort < 0 || s.TCPPort > 65535:
		return badField("TCPPort", "%d is not a port", s.TCPPort)
	case s.UDPPort > 65535:
		return badField("UDPPort", "%d is not a port", s.UDPPort)
	case s.UDPPort < 0 && s.DiscoverPeers:
		return badField("DiscoverPeers", "UDPPort is %d, which turns discovery off: leave one of them out", s.UDPPort)
	case s.MaxFileSize < 0:
		return badField("MaxFileSize", "%d is negative; 0 is no limit", s.MaxFileSize)
	case s.MaxMessage < 0 || s.MaxMessage > 1<<30:
		return badField("MaxMessage", "%d is not between 0 and 1 GiB", s.MaxMessage)
	case s.MaxMailbox < 0 || s.MaxMailbox > maxMailbox:
		return badField("MaxMailbox", "%d is not between 0, which is no limit, and %d messages", s.MaxMailbox, maxMailbox)
	case s.MsgTimeout < 0:
		return badField("MsgTimeout", "%v is negative", s.MsgTimeout)
	}
	for _, f := range []struct{ field, host string }{{"Addr", s.Addr}, {"ExtAddr", s.ExtAddr}} {
		if f.host != "" && !isHost(f.host) {
			return badField(f.field, "%q is not a host name or IP address; the port goes into TCPPort, an IPv6 address is written without brackets", f.host)
		}
	}
	for _, p := range s.Peers {
		loc, err := parseLocation(p)
		if err != nil {
			return badField("Peers", "%w", err)
		}
		s.peers = append(s.peers, loc)
	}
	return nil
}

// isPlainText reports whether s can go into a log line as it is.
func isPlainText(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// certificates returns the configuration of mutual TLS, nil where there is none.
func (s *settled) certificates() (*tls.Config, error) {
	if s.CertFile == "" && s.KeyFile == "" && s.CAFile == "" {
		return s.TLS, nil
	}
	if s.TLS != nil {
		return nil, errors.New("discoro: Config: both TLS and CertFile, KeyFile or CAFile are set; choose one")
	}
	cfg, err := wire.LoadTLS(s.CertFile, s.KeyFile, s.CAFile)
	if err != nil {
		return nil, badField("CertFile", "with KeyFile and CAFile: %w", err)
	}
	return cfg, nil
}

// settleAddr chooses where to listen: closed by default.
func (s *settled) settleAddr(open bool) error {
	s.listen = s.Addr
	if s.inMemory() { // nobody outside reaches it
		s.listen = cmp.Or(s.Addr, s.tuning.host.Name())
		s.host = cmp.Or(s.ExtAddr, s.listen)
		return nil
	}
	if s.Addr == "" && !open {
		s.listen = "127.0.0.1"
	}
	if !open && !isLoopback(s.listen) {
		return s.errOpen()
	}
	s.host = s.ExtAddr
	if s.host == "" {
		s.host = s.listen
	}
	if ip := net.ParseIP(s.host); s.host == "" || ip != nil && ip.IsUnspecified() {
		s.host = ownAddress()
	}
	s.reachable = open
	return nil
}

func (s *settled) errOpen() error {
	return badField("Addr", "%q can be reached from other machines, which without protection lets anybody run functions here: "+
		"set Secret (or certificates), or Insecure to allow it", s.Addr)
}

// open listens, and returns the port as well. What the address turns out to be counts, not what its name said before.
func (s *settled) open() (net.Listener, int, error) {
	if s.inMemory() {
		ln, port, err := s.tuning.host.Listen(s.listen, s.host, s.TCPPort)
		if err != nil {
			return nil, 0, fault.Because(err, "listen")
		}
		return ln, port, nil
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(s.listen, strconv.Itoa(s.TCPPort)))
	if err != nil {
		return nil, 0, fault.Because(err, "listen")
	}
	addr, ok := ln.Addr().(*net.TCPAddr)
	switch {
	case !ok:
		err = fmt.Errorf("discoro: listen: %v is no TCP address", ln.Addr())
	case !s.reachable && !addr.IP.IsLoopback():
		err = s.errOpen()
	case s.tuning.host != nil:
		return s.tuning.host.Own(ln, s.listen, s.host, addr.Port), addr.Port, nil
	default:
		return ln, addr.Port, nil
	}
	return nil, 0, errors.Join(err, ln.Close())
}

// awaitKey waits until the secret's key has been computed, so that no goroutine is left behind: a second at most.
func (s *settled) awaitKey() { _ = s.protect.Ready(context.Background()) }

// isLoopback reports whether host can be reached from this machine only.
func isLoopback(host string) bool {
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsLoopback()
	}
	addrs, err := net.LookupIP(host)
	if err != nil || len(addrs) == 0 {
		return host == "localhost"
	}
	for _, ip := range addrs {
		if !ip.IsLoopback() {
			return false
		}
	}
	return true
}

// ownAddress returns an address of this host that others can use, loopback when it has none.
func ownAddress() string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return "127.0.0.1"
	}
	var six string
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok || !n.IP.IsGlobalUnicast() {
			continue
		}
		if four := n.IP.To4(); four != nil {
			return four.String()
		}
		if six == "" {
			six = n.IP.String()
		}
	}
	if six != "" {
		return six
	}
	return "127.0.0.1"
}
