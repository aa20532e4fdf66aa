package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/discoro/discoro/internal/fault"
)

// envPrefix begins the names of the environment variables that stand for options.
const envPrefix = "DISCORO_"

// A Program is what [Parse] must know of a program.
type Program struct {
	About  string  // one sentence for the help
	Config any     // points to a struct, which has the defaults; options set the fields that have their names as tags
	Common *Common // part of Config
	Secret *string // part of Config; --secret_file sets it
}

// Flags records which options were given, and where.
type Flags struct {
	fields map[string]reflect.Value // of the configuration, by option
	given  [fromFlag + 1]map[string][]string
	log    *slog.Logger
}

// Places where an option can be given. A higher one takes precedence.
const (
	fromDefault = iota
	fromFile
	fromEnv
	fromFlag
)

// Parse fills p.Config from the command line, environment variables and the file of --config, in
// this order of precedence. args do not include the program's name. Nil Flags without an error mean
// that the program has done what it was asked for: the help is shown, or the options are saved.
func Parse(p Program, args []string) (*Flags, error) {
	f, err := parse(p, args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return nil, printHelp(os.Stdout, p)
	case err != nil:
		return nil, err
	case p.Common.Save != "":
		if err := f.save(p.Common.Save); err != nil {
			return nil, fault.Because(err, "--save_config")
		}
		_, err := fmt.Fprintf(os.Stdout, "saved to %s\n", p.Common.Save)
		return nil, err
	}
	f.log = slog.Default()
	if p.Common.Debug {
		f.log = DebugLogger()
	}
	for _, name := range f.secretFiles(p.Common) {
		if othersMayRead(name) {
			f.log.Warn("other users of this machine may read the secret: chmod 600", slog.String("file", name))
		}
	}
	return f, nil
}

// Given reports whether an option was given anywhere.
func (f *Flags) Given(name string) bool { return f.source(name) != fromDefault }

// Logger returns the logger that the options ask for.
func (f *Flags) Logger() *slog.Logger { return f.log }

// DebugLogger returns a logger that logs everything to standard error.
func DebugLogger() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// parse is Parse without its output. The error is flag.ErrHelp when help is asked for.
func parse(p Program, args []string) (*Flags, error) {
	f := &Flags{fields: fields(p.Config)}
	if err := f.readArgs(args); err != nil {
		return nil, err
	}
	f.readEnv()
	if err := f.set("config"); err != nil {
		return nil, err
	}
	if p.Common.File != "" {
		if err := f.readFile(p.Common.File); err != nil {
			return nil, err
		}
	}
	for _, o := range f.options() {
		if err := f.set(o.Name); err != nil {
			return nil, err
		}
	}
	return f, f.chooseSecret(p)
}

// chooseSecret reads the file of --secret_file, unless the secret itself was given in a place that
// takes precedence.
func (f *Flags) chooseSecret(p Program) error {
	file, secret := f.source("secret_file"), f.source("secret")
	switch {
	case file == fromDefault || file < secret:
		return nil
	case file == secret:
		return badUse("both secret and secret_file are given: choose one")
	}
	var err error
	*p.Secret, err = readSecret(p.Common.SecretFile)
	return err
}

// secretFiles returns the names of the files that the secret in use was read from.
func (f *Flags) secretFiles(common *Common) []string {
	switch {
	case f.source("secret_file") > f.source("secret"):
		return []string{common.SecretFile}
	case f.source("secret") == fromFile:
		return []string{common.File}
	}
	return nil
}

// options returns those of Options that the program has.
func (f *Flags) options() []Option {
	return slices.DeleteFunc(slices.Clone(Options), func(o Option) bool { return !f.fields[o.Name].IsValid() })
}

// source returns the place that takes precedence among those where an option was given.
func (f *Flags) source(name string) int {
	for from := fromFlag; from > fromDefault; from-- {
		if len(f.given[from][name]) > 0 {
			return from
		}
	}
	return fromDefault
}

// set sets the field of an option, unless the option was given nowhere.
func (f *Flags) set(name string) error {
	from := f.source(name)
	if from == fromDefault {
		return nil
	}
	texts := f.given[from][name]
	if err := setField(f.fields[name], texts); err != nil {
		return badUse("%s: %.80q: %w", label(from, name), strings.Join(texts, ","), err)
	}
	return nil
}

// label names an option by the place where it was given.
func label(from int, name string) string {
	switch from {
	case fromEnv:
		return EnvName(name)
	case fromFile:
		return "option " + name + " of the configuration file"
	}
	return flagName(name)
}

// EnvName returns the name of the environment variable that stands for an option.
func EnvName(name string) string { return envPrefix + strings.ToUpper(name) }

func flagName(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// readArgs reads the command line.
func (f *Flags) readArgs(args []string) error {
	given := map[string][]string{}
	f.given[fromFlag] = given
	set := flag.NewFlagSet("", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	for _, o := range f.options() {
		v := &recorder{given: given, name: o.Name, isSwitch: o.Arg == ""}
		set.Var(v, o.Name, "")
		if o.Short != "" {
			set.Var(v, o.Short, "")
		}
	}
	if err := set.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return badUse("%w (--help lists the options)", err)
	}
	if set.NArg() > 0 {
		return badUse("%.80q is no option (--help lists them)", set.Arg(0))
	}
	return nil
}

// recorder is the flag.Value of an option: it records the texts that were given.
type recorder struct {
	given    map[string][]string
	name     string
	isSwitch bool
}

// String implements flag.Value.
func (r *recorder) String() string { return "" }

// IsBoolFlag reports whether package flag accepts the option without an argument.
func (r *recorder) IsBoolFlag() bool { return r.isSwitch }

// Set implements flag.Value.
func (r *recorder) Set(text string) error {
	r.given[r.name] = append(r.given[r.name], text)
	return nil
}

// readEnv reads the environment variables. An empty one counts as not set.
func (f *Flags) readEnv() {
	given := map[string][]string{}
	f.given[fromEnv] = given
	for _, o := range f.options() {
		if text := os.Getenv(EnvName(o.Name)); text != "" && o.Name != "save_config" {
			given[o.Name] = []string{text}
		}
	}
}

// printHelp lists the options.
func printHelp(w io.Writer, p Program) error {
	var b strings.Builder
	fmt.Fprintf(&b, "usage: %s [options]\n\n%s\n\n", filepath.Base(os.Args[0]), p.About)
	f := &Flags{fields: fields(p.Config)}
	for _, o := range f.options() {
		names := flagName(o.Name)
		if o.Short != "" {
			names = "-" + o.Short + ", " + names
		}
		if o.Arg != "" {
			names += " " + o.Arg
		}
		fmt.Fprintf(&b, "  %s\n    \t%s\n", names, o.Usage)
	}
	b.WriteString("\nEach option can also be set by an environment variable " + envPrefix + "NAME, in capitals.\n" +
		"An option takes precedence over its variable, and the variable over the file of --config.\n" +
		"Lists may have commas. SECONDS may be durations such as 1m30s.\n")
	_, err := io.WriteString(w, b.String())
	return err
}
