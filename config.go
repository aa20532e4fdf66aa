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
	// DefaultMsgTimeout limits control messages, and waits for room in a link's queue.
	DefaultMsgTimeout = 10 * time.Second
	// DefaultMaxMessage limits the encoded size of one message, argument or result, in bytes.
	DefaultMaxMessage = 64 << 20
	// MinPulseInterval is the shortest interval that a computation may ask for, unless a node allows
	// a shorter one.
	MinPulseInterval = 10 * time.Second
	// MaxPulseInterval is the longest interval that a computation may ask for, unless a node allows
	// a longer one.
	MaxPulseInterval = 100 * time.Second
	// DefaultZombiePeriod is how long a computation of another runtime may be idle at a scheduler.
	DefaultZombiePeriod = 10 * MaxPulseInterval
)

const (
	defaultGrace = 5 * time.Second // for a terminated coroutine to end
	goodSecret   = 16              // characters that a secret should have
	maxName      = 256             // bytes of a runtime's or coroutine's registered name
	maxMailbox   = 1 << 30         // messages
)

// Config says how others reach a [Runtime] and how its links are protected. The zero Config is a
// runtime that only this machine can reach. The configuration of each role embeds a Config. The
// tags are the names of the options of [NodeMain] and [SchedulerMain].
type Config struct {
	// Name is what others see. Empty: the host's name.
	Name string `json:"name"`
	// Addr is the host name or IP address to listen on and to announce. Empty: loopback, unless
	// Secret, certificates or Insecure are set; then all addresses, and the host's own address is
	// announced.
	Addr string `json:"ip_addr"`
	// ExtAddr is announced instead of Addr, for peers that reach this runtime through NAT, a cloud's
	// public address or a forwarded port.
	ExtAddr string `json:"ext_ip_addr"`
	// TCPPort is the port to listen on. 0: any free port.
	TCPPort int `json:"tcp_port"`
	// UDPPort is the port by which runtimes find each other on the local network. It must be the same
	// everywhere. 0: DefaultUDPPort; less than 0: no discovery. A runtime that listens on loopback
	// asks this machine only, and answers this machine only. A port set here that cannot be listened
	// on is an error. When that happens to the default port, the runtime logs it and others cannot
	// discover it.
	UDPPort int `json:"udp_port"`
	// Secret protects every link. Both sides must have the same secret: each proves to the other that
	// it knows it, and links are encrypted. It should have 16 characters or more. It is never logged.
	Secret string `json:"secret"`
	// CertFile, KeyFile and CAFile (PEM) protect links by mutual TLS: each side has a certificate
	// signed by the CA. CertFile may contain the key.
	CertFile string `json:"certfile"`
	KeyFile  string `json:"keyfile"`
	CAFile   string `json:"cafile"`
	// TLS configures mutual TLS in the program instead. It needs a certificate, ClientCAs and RootCAs.
	TLS *tls.Config `json:"-"`
	// Insecure allows other machines to reach a runtime that has neither a secret nor certificates.
	// Anyone who reaches its port can then run its functions.
	Insecure bool `json:"insecure"`
	// DestPath is the folder for received files and for servers' folders. Empty: a private folder
	// below os.TempDir(), which Close removes. A receiver that is killed leaves incomplete files
	// there, named ".discoro-" and digits. The next runtime with the same DestPath removes those that
	// are an hour old.
	DestPath string `json:"dest_path"`
	// MaxFileSize limits the size of each received file, in bytes. 0: no limit. A larger file is
	// refused with [ErrTooLarge] before any of it is sent. The number of files is not limited, and
	// functions may write to the same folder: to limit their sum, put DestPath on a disk or a quota of
	// its own.
	MaxFileSize int64 `json:"max_file_size"`
	// MaxMessage limits the encoded size of one message, argument or result, in bytes. 0:
	// DefaultMaxMessage. Set it alike on all sides: a link ends when more arrives than its receiver
	// accepts, and both sides get an error that says so.
	MaxMessage int `json:"max_message"`
	// MaxMailbox limits how many messages wait in the mailbox of each coroutine of the runtime. 0: no
	// limit. While a mailbox is full:
	//
	//   - [Coro.Send] from the same runtime waits for room, as it does for a full link;
	//   - [Coro.Deliver] and [Ask], from anywhere, wait for room until their context ends;
	//   - a Send from another runtime is refused, as nobody waits for it: it is counted in [CoroState]
	//     and logged, at most one line for each coroutine in 10 s;
	//   - [Status] and [PeerStatus] messages from another runtime wait for room.
	//
	// A full mailbox still accepts [Exit], Status and PeerStatus messages from the same runtime, every
	// Exit from another runtime, and messages of a [Channel]. A coroutine that is subscribed to a
	// channel of another runtime accepts every Send from other runtimes.
	MaxMailbox int `json:"max_mailbox"`
	// MsgTimeout limits control messages, and how long a Send waits for room in a link's queue or a
	// mailbox. 0: DefaultMsgTimeout.
	MsgTimeout time.Duration `json:"msg_timeout"`
	// Peers are the addresses, "host:port", of runtimes to stay connected to. They are dialled at the
	// start, and again whenever the link is down, at growing intervals of up to half a minute. A DNS
	// name stands for all its addresses and is looked up anew at each dial.
	Peers []string `json:"peer"`
	// DiscoverPeers looks for peers on the local network once, at the start, as [Runtime.Discover]
	// does, without waiting for the result. Answering others needs no option. With a secret nobody
	// else can read or forge the questions and answers. Without one, anyone on the local network can
	// find out that a runtime is here, and at which port.
	DiscoverPeers bool `json:"discover_peers"`
	// Logger receives the log of the runtime. Nil: slog.Default(). Its handler must not call discoro.
	Logger *slog.Logger `json:"-"`

	tuning
}

// tuning is what only this package sets, and tests by package seam.
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

// one returns the optional configuration of a constructor.
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

// settled is a Config that has been checked and has its defaults filled in.
type settled struct {
	Config

	listen    string           // address to listen on; empty: all addresses
	announced string           // host of the runtime's Location
	reachable bool             // other machines may reach the runtime
	protect   *wire.Protection // nil: plain links
	peers     []Location       // of Peers
}

// settle checks cfg and fills in the defaults. This is the only place where a Config is checked.
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
	// This comes last, as it starts a goroutine that computes the secret's key.
	if s.protect, err = wire.NewProtection(wire.Secret(s.Secret), certs); err != nil {
		return settled{}, fault.Because(err, "Config")
	}
	return s, nil
}

// checkFields checks each field on its own.
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
			return badField(f.field, "%q is not a host name or IP address; "+
				"the port goes into TCPPort, an IPv6 address is written without brackets", f.host)
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

// certificates returns the configuration of mutual TLS, nil when no certificates are set.
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

// settleAddr chooses the addresses to listen on and to announce. open: the runtime is protected, or
// allowed to be insecure. Otherwise only loopback will do.
func (s *settled) settleAddr(open bool) error {
	s.listen = s.Addr
	if s.inMemory() { // nothing outside this process reaches it
		s.listen = cmp.Or(s.Addr, s.host.Name())
		s.announced = cmp.Or(s.ExtAddr, s.listen)
		return nil
	}
	if s.Addr == "" && !open {
		s.listen = "127.0.0.1"
	}
	if !open && !isLoopback(s.listen) {
		return s.errOpen()
	}
	s.announced = cmp.Or(s.ExtAddr, s.listen)
	if ip := net.ParseIP(s.announced); s.announced == "" || ip != nil && ip.IsUnspecified() {
		s.announced = ownAddress()
	}
	s.reachable = open
	return nil
}

// open listens and returns the listener and its port. It refuses an address that other machines
// reach once more, as a name may have another address by now.
func (s *settled) open() (net.Listener, int, error) {
	if s.inMemory() {
		ln, port, err := s.host.Listen(s.listen, s.announced, s.TCPPort)
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
	case s.host != nil:
		return s.host.Own(ln, s.listen, s.announced, addr.Port), addr.Port, nil
	default:
		return ln, addr.Port, nil
	}
	return nil, 0, errors.Join(err, ln.Close())
}

// errOpen is the error of an address that other machines reach, without protection.
func (s *settled) errOpen() error {
	return badField("Addr", "%q can be reached from other machines, which without protection lets anybody "+
		"run functions here: set Secret (or certificates), or Insecure to allow it", s.Addr)
}

// awaitKey waits, for at most a second, until the secret's key has been computed. No goroutine is
// left then.
func (s *settled) awaitKey() { _ = s.protect.Ready(context.Background()) }

// badField returns the error of one field of a Config.
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

// defaultName returns the host's name.
func defaultName() string {
	name, _ := os.Hostname()
	return cmp.Or(name, "discoro")
}

// isPlainText reports whether s is printable text, which can go into a log line unchanged.
func isPlainText(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// isLoopback reports whether a host can be reached from this machine only.
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

// ownAddress returns an address of this host that other machines can use, or loopback when there is
// none. It prefers IPv4.
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
