package discoro

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"
)

// envPrefix begins the names of the variables that stand for options.
const envPrefix = "DISCORO_"

// Where an option was given; the higher counts.
const (
	fromDefault = iota
	fromFile
	fromEnv
	fromFlag
)

// flags are the options of a program, while they are collected.
type flags struct {
	fields map[string]reflect.Value // of the configuration, by option
	given  [fromFlag + 1]map[string][]string
}

// exitError is an error with the exit code that it is to have. Programs with subcommands find that by an interface of
// its method, as that of exec.ExitError.
type exitError struct {
	code int
	err  error
}

// Error gives the error's own text.
func (e *exitError) Error() string { return e.err.Error() }

// Unwrap gives the error.
func (e *exitError) Unwrap() error { return e.err }

// ExitCode returns what the program is to exit with.
func (e *exitError) ExitCode() int { return e.code }

// Exit codes of NodeMain and SchedulerMain.
const (
	exitFailed = 1
	exitUsage  = 2
	exitForced = 130
)

// badUsage is the error of an option.
func badUsage(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf("discoro: "+format, args...)}
}

// parseFlags fills the struct that cfg points to from args, the environment and the configuration file; common is part of it.
// flag.ErrHelp: help was asked for.
func parseFlags(cfg any, common *commonOptions, secret *string, args []string) (*flags, error) {
	p := &flags{fields: fields(cfg)}
	if err := p.readArgs(args); err != nil {
		return nil, err
	}
	p.readEnv()
	if err := p.set("config"); err != nil {
		return nil, err
	}
	if common.File != "" {
		if err := p.readFile(common.File); err != nil {
			return nil, err
		}
	}
	for _, o := range p.options() {
		if err := p.set(o.name); err != nil {
			return nil, err
		}
	}
	if p.source("secret_file") == fromDefault || p.source("secret_file") < p.source("secret") {
		return p, nil
	}
	if p.source("secret_file") == p.source("secret") {
		return nil, badUsage("both secret and secret_file are given: choose one")
	}
	var err error
	*secret, err = readSecret(common.SecretFile)
	return p, err
}

// options returns those that the program has.
func (p *flags) options() []option {
	return slices.DeleteFunc(slices.Clone(options), func(o option) bool { return !p.fields[o.name].IsValid() })
}

// source returns where an option was given.
func (p *flags) source(name string) int {
	for from := fromFlag; from > fromDefault; from-- {
		if len(p.given[from][name]) > 0 {
			return from
		}
	}
	return fromDefault
}

// set sets the field of an option to what counts, unless it was given nowhere.
func (p *flags) set(name string) error {
	from := p.source(name)
	if from == fromDefault {
		return nil
	}
	if err := setField(p.fields[name], p.given[from][name]); err != nil {
		return badUsage("%s: %.80q: %w", p.label(from, name), strings.Join(p.given[from][name], ","), err)
	}
	return nil
}

// label says where an option was given, as its user knows it.
func (p *flags) label(from int, name string) string {
	switch from {
	case fromEnv:
		return envName(name)
	case fromFile:
		return "option " + name + " of the configuration file"
	}
	return flagName(name)
}

func envName(name string) string { return envPrefix + strings.ToUpper(name) }

func flagName(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

func (p *flags) readArgs(args []string) error {
	given := map[string][]string{}
	p.given[fromFlag] = given
	set := flag.NewFlagSet("", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	for _, o := range p.options() {
		v := &recorder{given: given, name: o.name, isBool: o.arg == ""}
		set.Var(v, o.name, "")
		if o.short != "" {
			set.Var(v, o.short, "")
		}
	}
	if err := set.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return badUsage("%w (--help lists the options)", err)
	}
	if set.NArg() > 0 {
		return badUsage("%.80q is no option (--help lists them)", set.Arg(0))
	}
	return nil
}

// recorder notes what a flag was given.
type recorder struct {
	given  map[string][]string
	name   string
	isBool bool
}

// String is for package flag.
func (r *recorder) String() string { return "" }

// IsBoolFlag is for package flag.
func (r *recorder) IsBoolFlag() bool { return r.isBool }

// Set is for package flag.
func (r *recorder) Set(text string) error {
	r.given[r.name] = append(r.given[r.name], text)
	return nil
}

// readEnv looks for a variable of each option. An empty one counts as not set.
func (p *flags) readEnv() {
	given := map[string][]string{}
	p.given[fromEnv] = given
	for _, o := range p.options() {
		if text := os.Getenv(envName(o.name)); text != "" && o.name != "save_config" {
			given[o.name] = []string{text}
		}
	}
}

const maxConfigFile = 1 << 20 // bytes

// readFile reads a configuration file: a JSON object with options by name.
func (p *flags) readFile(name string) error {
	text, err := readBounded(name, maxConfigFile)
	if err != nil {
		return badUsage("--config: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var values map[string]any
	if err := dec.Decode(&values); err != nil {
		return badUsage("--config: %s is not a JSON object: %w", name, err)
	}
	given := map[string][]string{}
	p.given[fromFile] = given
	own := map[string]bool{"config": true, "save_config": true}
	for key, value := range values {
		if !p.fields[key].IsValid() || own[key] {
			return badUsage("--config: %s: there is no option %.40q", name, key)
		}
		list, isList := value.([]any)
		if !isList {
			list = []any{value}
		}
		for _, v := range list {
			switch v.(type) {
			case string, bool, json.Number:
				given[key] = append(given[key], fmt.Sprint(v))
			default:
				// What it is, is not told: it may be the secret.
				return badUsage("--config: %s: option %s is neither text, number, true, false, nor a list of them", name, key)
			}
		}
	}
	return nil
}

// readBounded reads a file of at most limit bytes.
func readBounded(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes: %w", name, limit, ErrTooLarge)
	}
	return text, err
}

const maxSecretFile = 64 << 10 // bytes

// readSecret reads a secret from a file, without the line's end.
func readSecret(name string) (string, error) {
	text, err := readBounded(name, maxSecretFile)
	if err != nil {
		return "", badUsage("secret_file: %w", err)
	}
	secret := strings.TrimRight(string(text), "\r\n")
	if secret == "" {
		return "", badUsage("secret_file: %s is empty", name)
	}
	return secret, nil
}

// othersMayRead reports whether other users of this machine may read a file; where that can be told.
func othersMayRead(name string) bool {
	info, err := os.Stat(name)
	return err == nil && filepath.Separator == '/' && info.Mode().Perm()&0o077 != 0
}

// save writes the options that were given to a file that nobody else may read, but for those that belong to one machine, and
// for a secret that came from a variable, which stays there.
func (p *flags) save(name string) error {
	values := map[string]any{}
	for _, o := range p.options() {
		from := p.source(o.name)
		if o.own || from == fromDefault || o.name == "secret" && from == fromEnv {
			continue
		}
		values[o.name] = p.fields[o.name].Interface()
		if d, ok := values[o.name].(time.Duration); ok {
			values[o.name] = d.Seconds()
		}
	}
	text, err := json.MarshalIndent(values, "", "\t")
	if err != nil {
		return err
	}
	return writePrivate(name, append(text, '\n'))
}

// writePrivate writes a file, at once or not at all, that only its owner may read.
func writePrivate(name string, text []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			if e := os.Remove(f.Name()); e != nil && !errors.Is(e, fs.ErrNotExist) {
				err = errors.Join(err, e)
			}
		}
	}()
	if _, err = f.Write(text); err != nil {
		return errors.Join(err, f.Close())
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// printHelp lists the options.
func printHelp(w io.Writer, cfg any, about string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "usage: %s [options]\n\n%s\n\n", filepath.Base(os.Args[0]), about)
	p := &flags{fields: fields(cfg)}
	for _, o := range p.options() {
		names := flagName(o.name)
		if o.short != "" {
			names = "-" + o.short + ", " + names
		}
		if o.arg != "" {
			names += " " + o.arg
		}
		fmt.Fprintf(&b, "  %s\n    \t%s\n", names, o.usage)
	}
	b.WriteString("\nA variable " + envPrefix + "NAME stands for each option, in capitals. An option beats its variable, and that the file of\n" +
		"--config. Lists take commas, too. SECONDS may be durations such as 1m30s.\n")
	_, err := io.WriteString(w, b.String())
	return err
}
