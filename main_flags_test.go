package discoro

import (
	"errors"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// nodeOptions is what RunNode fills.
type nodeOptions struct {
	NodeConfig
	commonOptions
}

func parseNode(args ...string) (nodeOptions, *flags, error) {
	cfg := nodeOptions{NodeConfig: NodeConfig{Processes: true, Serve: -1}}
	p, err := parseFlags(&cfg, &cfg.commonOptions, &cfg.Secret, args)
	return cfg, p, err
}

var plainOptions = cmp.Options{cmpopts.IgnoreUnexported(Config{}, NodeConfig{}), cmp.AllowUnexported(nodeOptions{})}

// TestOptionsAreFields holds options to the tags of the configurations: none is parsed and ignored, and no field is forgotten.
func TestOptionsAreFields(t *testing.T) {
	t.Parallel()
	var schedOptions struct {
		SchedulerConfig
		commonOptions
	}
	tags := fields(&nodeOptions{})
	maps.Copy(tags, fields(&schedOptions))
	names := map[string]bool{}
	for _, o := range options {
		if names[o.name] || names[o.short] && o.short != "" {
			t.Errorf("option %s is there twice", o.name)
		}
		names[o.name], names[o.short] = true, true
		if !tags[o.name].IsValid() {
			t.Errorf("no field has the tag %s", o.name)
		}
	}
	for tag := range tags {
		if !names[tag] {
			t.Errorf("no option sets the field with the tag %s", tag)
		}
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
		NodeConfig: NodeConfig{
			Config: Config{
				Name: "me", Addr: "127.0.0.1", ExtAddr: "example.com", TCPPort: 7070, UDPPort: 51351, DestPath: dir,
				Secret: "from a file, and long", CertFile: "a", KeyFile: "b", CAFile: "c", Insecure: true,
				MaxMessage: 1000, MaxFileSize: 5_000_000_000, MaxMailbox: 7, MsgTimeout: 3 * time.Second,
				Peers: []string{"a:1", "b:2", "c:3"}, DiscoverPeers: true,
			},
			Servers: -1, Processes: true, TCPPorts: []string{"2345-2347", "3799", "4000"},
			MinPulseInterval: 500 * time.Millisecond, MaxPulseInterval: 90 * time.Second, ZombiePeriod: 1000 * time.Second,
			Serve: 3, ServiceStart: "17:00", ServiceStop: "07:00", ServiceEnd: "08:00", Phoenix: true,
		},
		commonOptions: commonOptions{SecretFile: secret, Daemon: true, Debug: true},
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
		NodeConfig: NodeConfig{
			Config:  Config{Name: "flag", Peers: []string{"e:1", "e:2"}, MsgTimeout: time.Minute},
			Servers: 6, Serve: 7, Processes: true, TCPPorts: []string{"1-2"}, MinPulseInterval: 2500 * time.Millisecond,
		},
		commonOptions: commonOptions{Debug: true, File: file},
	}
	if diff := cmp.Diff(want, cfg, plainOptions); diff != "" {
		t.Error(diff)
	}
}

// TestSecretSources gives the secret in two places; the nearer counts.
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

// TestSecretFilesOfOthers looks for files with a secret that others may read.
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
		if err != nil || !slices.Equal(p.secretFiles(&cfg.commonOptions), c.want) {
			t.Errorf("%q: %v, %v", c.args, p.secretFiles(&cfg.commonOptions), err)
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
			t.Errorf("%.100q: a secret is told: %v", c.args, err)
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

// TestFieldErrorsNameFlags checks that what a configuration refuses is told by its option.
func TestFieldErrorsNameFlags(t *testing.T) {
	t.Parallel()
	for flag, cfg := range map[string]nodeOptions{
		"--tcp_ports":          {NodeConfig: NodeConfig{TCPPorts: []string{"x"}}},
		"--min_pulse_interval": {NodeConfig: NodeConfig{MinPulseInterval: time.Hour}},
		"-c":                   {NodeConfig: NodeConfig{Servers: -1000}},
		"--service_stop":       {NodeConfig: NodeConfig{ServiceStop: "noon"}},
		"--tcp_port":           {NodeConfig: NodeConfig{Config: Config{TCPPort: -1}}},
		"--ip_addr":            {NodeConfig: NodeConfig{Config: Config{Addr: "not a host"}}},
	} {
		err := usageOf(&cfg, cfg.check())
		var exit *exitError
		if !errors.As(err, &exit) || exit.code != exitUsage || !strings.HasPrefix(err.Error(), "discoro: "+flag+": ") {
			t.Errorf("%s: %v", flag, err)
		}
	}
	if err := usageOf(&nodeOptions{}, os.ErrClosed); !errors.Is(err, os.ErrClosed) {
		t.Errorf("another error: %v", err)
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
