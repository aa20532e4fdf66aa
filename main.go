package discoro

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/discoro/discoro/internal/fault"
)

// NodeMain is the main function of a program that is a node: the whole of it is
//
//	func main() { discoro.NodeMain() }
//
// beside the packages that it imports so that their functions are registered. Its servers are processes of the same
// program, which NodeMain makes of it by calling [Init] itself; do nothing before it that they should not do. In asyncoro:
// discoronode. It does not return.
//
// Options come from the command line, from variables of the environment, DISCORO_ and the option's name in capitals, and
// from the file of --config, in this order of precedence; --help lists them, and NodeConfig's fields say more. A secret
// need not stand on the command line, where every user of the machine can read it: --secret_file names a file, and
// DISCORO_SECRET has it in the environment. A file that --save_config writes can be read by its owner only; the secret is in
// it when it was given as an option or came from a file of --config.
//
// It tells on standard output where it can be reached, and logs by [slog.Default]; with --debug everything, to standard error.
// Nobody need read standard output: what there is no room for is dropped. Standard error must be read, or be a file. Commands are read from
// standard input, a line each, unless --daemon is given; at its end the node goes on serving:
//
//   - status shows the servers, what they serve, and how many coroutines each has;
//   - close ends the computation that is served, as [Node.CloseComputation] does;
//   - quit or exit drains, as [Node.Drain] does;
//   - terminate ends at once, as [Node.Close] does.
//
// SIGTERM and the first Ctrl-C drain; another ends at once, but for the same signal within a fifth of a second, as some programs send it
// twice. With --daemon the end of its terminal (SIGHUP) does not
// end it.
//
// A machine has one such node of a name for each user: a second is told which one runs. That is known by a locked file, which
// a node that was killed does not hold. With --phoenix the second ends the first: asks it to end at once, and kills it when
// it has not after some seconds.
//
// The exit code is 0 after an orderly end that was asked for, by command, signal, --serve, --save_config or --help; 1 when the node could
// not start, or not end in order; 2 for bad options; 130 when a second
// signal ended it at once, or a first one while it waited for another node to end.
func NodeMain() {
	Init()
	os.Exit(exitCode(RunNode(context.Background(), os.Args[1:])))
}

// RunNode is [NodeMain] for programs that are more than a node: with args, which has no program's name before the
// options. It blocks until the node has ended; the end of ctx ends it at once. It takes SIGINT and SIGTERM meanwhile, and, unless
// --daemon is among args, reads standard input; after it has returned one more line may be lost.
//
// Main must have called [Init] before anything else: each server is this program, executed anew without args, and Init is
// where it becomes one. RunNode returns an error otherwise. An error with another exit code than 1 has a method ExitCode()
// int, as that of exec.ExitError, that returns it.
func RunNode(ctx context.Context, args []string) error {
	if !initCalled.Load() {
		return errors.New("discoro: RunNode: main must call discoro.Init first, for server processes to become servers; " +
			"without it each would start a node of its own")
	}
	cfg := struct {
		NodeConfig
		commonOptions
	}{NodeConfig: NodeConfig{Processes: true, Serve: -1}}
	p, err := readOptions(&cfg, &cfg.Config, &cfg.commonOptions, args, "A node of discoro: serves computations with the functions that this program has registered.")
	if p == nil || err != nil {
		return err
	}
	if err := cfg.check(); err != nil {
		return usageOf(&cfg, err)
	}
	signals, stop := endSignals(cfg.Daemon)
	defer stop()
	lock, err := lockState(ctx, signals, cmp.Or(cfg.Name, defaultName()), cfg.Phoenix, cfg.Logger)
	if err != nil {
		return err
	}
	defer lock.unlock()
	node, err := NewNode(cfg.NodeConfig)
	if err != nil {
		return usageOf(&cfg, err)
	}
	lock.note(node.Location())
	return operate(ctx, &nodeRole{node}, cfg.commonOptions, signals, stop)
}

// check checks what can be checked without starting anything: before another node is ended for this one.
func (cfg NodeConfig) check() error {
	if _, err := cfg.settle(); err != nil {
		return err
	}
	s := settled{Config: cfg.Config}
	if err := s.checkFields(); err != nil {
		return err
	}
	_, err := s.certificates()
	return err
}

// readOptions fills the struct that cfg points to, which base and common are parts of. nil: help was asked for, or the
// options to be saved, and there is nothing more to do.
func readOptions(cfg any, base *Config, common *commonOptions, args []string, about string) (*flags, error) {
	p, err := parseFlags(cfg, common, &base.Secret, args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return nil, printHelp(os.Stdout, cfg, about)
	case err != nil:
		return nil, err
	case common.Save != "":
		if err := p.save(common.Save); err != nil {
			return nil, fault.Because(err, "--save_config")
		}
		_, err := fmt.Fprintf(os.Stdout, "saved to %s\n", common.Save)
		return nil, err
	}
	base.Logger = slog.Default()
	if common.Debug {
		base.Logger = debugLogger()
	}
	for _, name := range p.secretFiles(common) {
		if othersMayRead(name) {
			base.Logger.Warn("other users of this machine may read the secret: chmod 600", slog.String("file", name))
		}
	}
	return p, nil
}

// secretFiles names the files that a secret in use was read from.
func (p *flags) secretFiles(common *commonOptions) []string {
	switch {
	case p.source("secret_file") > p.source("secret"):
		return []string{common.SecretFile}
	case p.source("secret") == fromFile:
		return []string{common.File}
	}
	return nil
}

// usageOf makes an error of a field of cfg one of its option.
func usageOf(cfg any, err error) error {
	var field *fieldError
	if errors.As(err, &field) {
		if name := field.tag(cfg); name != "" {
			return badUsage("%s: %w", flagName(name), field.err)
		}
	}
	return err
}

// exitCode says on standard error what went wrong, and returns the exit code.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, strings.ReplaceAll(err.Error(), "\n", "; "))
	var exit *exitError
	if errors.As(err, &exit) {
		return exit.code
	}
	return exitFailed
}

// debugLogger logs all there is to standard error.
func debugLogger() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// endSignals returns the channel of the signals that end a program, and a function that leaves them to the system again. It
// is called before anything is printed or logged.
func endSignals(daemon bool) (signals chan os.Signal, stop func()) {
	signals = make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	deaf := []os.Signal{syscall.SIGPIPE} // who read the output may have gone
	if daemon {
		deaf = append(deaf, syscall.SIGHUP)
	}
	// Not signal.Ignore, which what functions start would inherit.
	unheard := make(chan os.Signal, 1)
	signal.Notify(unheard, deaf...)
	ignoreBackground()
	return signals, func() {
		signal.Stop(signals)
		signal.Stop(unheard)
	}
}
