package cli

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// base stands for the configuration of a runtime, and nodeOptions for that of a node with the
// common options. Their fields have every kind that options can set.
type (
	base struct {
		Name          string        `json:"name"`
		Addr          string        `json:"ip_addr"`
		ExtAddr       string        `json:"ext_ip_addr"`
		TCPPort       int           `json:"tcp_port"`
		UDPPort       int           `json:"udp_port"`
		DestPath      string        `json:"dest_path"`
		Secret        string        `json:"secret"`
		CertFile      string        `json:"certfile"`
		KeyFile       string        `json:"keyfile"`
		CAFile        string        `json:"cafile"`
		Insecure      bool          `json:"insecure"`
		MaxMessage    int           `json:"max_message"`
		MaxFileSize   int64         `json:"max_file_size"`
		MaxMailbox    int           `json:"max_mailbox"`
		MsgTimeout    time.Duration `json:"msg_timeout"`
		Peers         []string      `json:"peer"`
		DiscoverPeers bool          `json:"discover_peers"`
		Other         chan int      `json:"-"`
	}
	nodeOptions struct {
		base
		Common
		Servers          int           `json:"c"`
		Processes        bool          `json:"-"`
		TCPPorts         []string      `json:"tcp_ports"`
		MinPulseInterval time.Duration `json:"min_pulse_interval"`
		MaxPulseInterval time.Duration `json:"max_pulse_interval"`
		ZombiePeriod     time.Duration `json:"zombie_period"`
		Serve            int           `json:"serve"`
		ServiceStart     string        `json:"service_start"`
		ServiceStop      string        `json:"service_stop"`
		ServiceEnd       string        `json:"service_end"`
		Phoenix          bool          `json:"phoenix"`
	}
)

func (cfg *nodeOptions) program() Program {
	return Program{About: "A program.", Config: cfg, Common: &cfg.Common, Secret: &cfg.Secret}
}

func parseNode(args ...string) (nodeOptions, *Flags, error) {
	cfg := nodeOptions{Processes: true, Serve: -1}
	p, err := parse(cfg.program(), args)
	return cfg, p, err
}

var plainOptions = cmp.AllowUnexported(nodeOptions{})

// TestOptionsAreUnique looks for an option that is there twice.
func TestOptionsAreUnique(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, o := range Options {
		if names[o.Name] || names[o.Short] && o.Short != "" {
			t.Errorf("option %s is there twice", o.Name)
		}
		names[o.Name], names[o.Short] = true, true
	}
}

func TestFlagsOfEveryKind(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("from a file, and long\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, _, err := parseNode("-c", "-1", "-i", "127.0.0.1", "--ext_ip_addr=example.com", "-u", "51351", "-n", "me", "--dest_path", dir,
		"--secret_file", secret, "--certfile", "a", "--keyfile", "b", "--cafile", "c", "--min_pulse_interval", "0.5", "--max_pulse_interval", "1m30s",
		"--zombie_period", "1000", "-d", "--tcp_ports", "2345-2347", "--tcp_ports=3799,4000", "-t", "7070", "--serve", "3", "--daemon",
		"--service_start", "17:00", "--service_stop", "07:00", "--service_end", "08:00", "--phoenix", "--discover_peers",
		"--peer", "a:1", "--peer", "b:2, c:3", "--insecure=true", "--max_message", "1000", "--max_file_size", "5000000000", "--max_mailbox", "7", "--msg_timeout", "3")
	if err != nil {
		t.Fatal(err)
	}
	want := nodeOptions{
		base: base{
			Name: "me", Addr: "127.0.0.1", ExtAddr: "example.com", TCPPort: 7070, UDPPort: 51351, DestPath: dir,
			Secret: "from a file, and long", CertFile: "a", KeyFile: "b", CAFile: "c", Insecure: true,
			MaxMessage: 1000, MaxFileSize: 5_000_000_000, MaxMailbox: 7, MsgTimeout: 3 * time.Second,
			Peers: []string{"a:1", "b:2", "c:3"}, DiscoverPeers: true,
		},
		Servers: -1, Processes: true, TCPPorts: []string{"2345-2347", "3799", "4000"},
		MinPulseInterval: 500 * time.Millisecond, MaxPulseInterval: 90 * time.Second, ZombiePeriod: 1000 * time.Second,
		Serve: 3, ServiceStart: "17:00", ServiceStop: "07:00", ServiceEnd: "08:00", Phoenix: true,
		Common: Common{SecretFile: secret, Daemon: true, Debug: true},
	}
	if diff := cmp.Diff(want, cfg, plainOptions); diff != "" {
		t.Error(diff)
	}
}

// TestFlagPrecedence gives options in several places at once.
func TestFlagPrecedence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	text := `{"name": "file", "c": 5, "serve": 7, "peer": ["f:1", "f:2"], "min_pulse_interval": 2.5, "daemon": true, "msg_timeout": "1m", "tcp_ports": "1-2"}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DISCORO_CONFIG", file)
	t.Setenv("DISCORO_NAME", "env")
	t.Setenv("DISCORO_C", "6")
	t.Setenv("DISCORO_PEER", "e:1,e:2")
	t.Setenv("DISCORO_DEBUG", "1")
	t.Setenv("DISCORO_CERTFILE", "") // as if it were not there
	cfg, _, err := parseNode("-n", "flag", "--daemon=false")
	if err != nil {
		t.Fatal(err)
	}
	want := nodeOptions{
		base:    base{Name: "flag", Peers: []string{"e:1", "e:2"}, MsgTimeout: time.Minute},
		Servers: 6, Serve: 7, Processes: true, TCPPorts: []string{"1-2"}, MinPulseInterval: 2500 * time.Millisecond,
		Common: Common{Debug: true, File: file},
	}
	if diff := cmp.Diff(want, cfg, plainOptions); diff != "" {
		t.Error(diff)
	}
}

// TestSecretSources gives the secret in two places, of which one takes precedence.
func TestSecretSources(t *testing.T) {
	dir := t.TempDir()
	file, config := filepath.Join(dir, "secret"), filepath.Join(dir, "config")
	for name, text := range map[string]string{file: "secret of the file\r\n", config: `{"secret": "secret of the configuration"}`} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("DISCORO_SECRET", "secret of the environment")
	for want, args := range map[string][]string{
		"secret of the environment": {"--config", config},
		"secret of the flag":        {"-s", "secret of the flag", "--config", config},
		"secret of the file":        {"--secret_file", file},
	} {
		if cfg, _, err := parseNode(args...); err != nil || cfg.Secret != want {
			t.Errorf("%q: %q, %v; want %q", args, cfg.Secret, err, want)
		}
	}
}

// TestSecretFilesOfOthers finds the files with the secret, and notices that others may read one.
func TestSecretFilesOfOthers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secret, config := filepath.Join(dir, "secret"), filepath.Join(dir, "config")
	for name, text := range map[string]string{secret: "a secret", config: `{"secret": "another"}`} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"--secret_file", secret, "--config", config}, []string{secret}},
		{[]string{"--config", config}, []string{config}},
		{[]string{"--config", config, "-s", "a third"}, nil},
		{nil, nil},
	} {
		cfg, p, err := parseNode(c.args...)
		if err != nil || !slices.Equal(p.secretFiles(&cfg.Common), c.want) {
			t.Errorf("%q: %v, %v", c.args, p.secretFiles(&cfg.Common), err)
		}
	}
	if othersMayRead(secret) {
		t.Error("a file of mode 0600")
	}
	if err := os.Chmod(secret, 0o640); err != nil { //nolint:gosec // it is to be noticed
		t.Fatal(err)
	}
	if !othersMayRead(secret) {
		t.Error("a file of mode 0640 goes unnoticed")
	}
}

func TestBadFlags(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct {
		says string
		args []string
	}{
		{"-bad", []string{"--bad"}},
		{"-node", []string{"--node", "a:1"}}, // the scheduler's
		{`"extra" is no option`, []string{"extra"}},
		{"-c", []string{"-c"}},
		{"-c: \"many\"", []string{"-c", "many"}},
		{"--serve", []string{"--serve", "99999999999999999999"}},
		{"--min_pulse_interval", []string{"--min_pulse_interval", "soon"}},
		{"--zombie_period", []string{"--zombie_period", "1e300"}},
		{"--zombie_period", []string{"--zombie_period", "NaN"}},
		{"--peer", []string{"--peer", "a:1,,b:2"}},
		{"--daemon: \"maybe\"", []string{"--daemon=maybe"}},
		{"secret_file", []string{"--secret_file", filepath.Join(dir, "none")}},
		{"secret_file", []string{"--secret_file", write("empty", "\n")}},
		{"both secret and secret_file", []string{"--secret_file", write("one", "x"), "-s", "y"}},
		{"--config", []string{"--config", filepath.Join(dir, "none")}},
		{"not a JSON object", []string{"--config", write("list", `[1]`)}},
		{`no option "colour"`, []string{"--config", write("unknown", `{"colour": "red"}`)}},
		{`no option "config"`, []string{"--config", write("again", `{"config": "again"}`)}},
		{"option secret is neither", []string{"--config", write("secret", `{"secret": {"a": "hidden"}}`)}},
		{"option name", []string{"--config", write("object", `{"name": {"a": 1}}`)}},
		{"option c of the configuration file", []string{"--config", write("float", `{"c": 1.5}`)}},
		{"too large", []string{"--config", write("large", `{"name": "`+strings.Repeat("x", maxConfigFile)+`"}`)}},
	} {
		_, _, err := parseNode(c.args...)
		var exit *exitError
		if err == nil || !strings.Contains(err.Error(), c.says) || !errors.As(err, &exit) || exit.ExitCode() != 2 {
			t.Errorf("%.100q: %v; want %q and code 2", c.args, err, c.says)
		}
		if err != nil && strings.Contains(err.Error(), "hidden") {
			t.Errorf("%.100q: the secret is shown: %v", c.args, err)
		}
	}
	t.Setenv("DISCORO_C", "few")
	if _, _, err := parseNode(); err == nil || !strings.Contains(err.Error(), "DISCORO_C") {
		t.Errorf("a bad variable: %v", err)
	}
	if _, _, err := parseNode("-h"); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("help: %v", err)
	}
}

// TestSaveConfig saves options and loads them again.
func TestSaveConfig(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "saved")
	if err := os.WriteFile(file, []byte("old"), 0o644); err != nil { //nolint:gosec // it is to become private
		t.Fatal(err)
	}
	args := []string{
		"-c", "3", "--tcp_ports", "2345-2347", "--tcp_ports", "3799", "--peer", "a:1", "--zombie_period", "1m30s", "--min_pulse_interval", "0.25",
		"--daemon", "--insecure=false", "--service_end", "18:00", "-s", "a secret of the flags",
	}
	want, p, err := parseNode(slices.Concat(args, []string{"-i", "127.0.0.1", "-n", "mine"})...)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.save(file); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v; want mode 0600", info.Mode(), err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left are %v, %v", left, err)
	}
	got, _, err := parseNode("--config", file)
	if err != nil {
		t.Fatal(err)
	}
	want.Addr, want.Name, want.File = "", "", file // these belong to one machine
	if diff := cmp.Diff(want, got, plainOptions); diff != "" {
		t.Error(diff)
	}
	t.Setenv("DISCORO_SECRET", "a secret of the environment")
	if _, p, err = parseNode(); err == nil {
		err = p.save(file)
	}
	if text, e := os.ReadFile(file); err != nil || e != nil || strings.Contains(string(text), "secret") {
		t.Errorf("a secret of the environment is saved: %s, %v, %v", text, err, e)
	}
	if err := p.save(filepath.Join(dir, "none", "file")); err == nil {
		t.Error("saved into a folder that there is not")
	}
}
