package discoro

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// option is an option of NodeMain or SchedulerMain. A program has those whose names are tags of its configuration's fields.
type option struct {
	name  string // also the field's tag, the key in a configuration file and, in capitals behind DISCORO_, the variable
	short string // one letter; empty: none
	arg   string // what it takes; empty: nothing, it is a switch
	usage string
	own   bool // belongs to one machine, or to one start: it is not saved
}

// options lists what there is, in the order in which it is shown.
var options = []option{
	{name: "c", arg: "N", usage: "servers: N; 0, the default: one a CPU; less than 0: leave that many CPUs unused"},
	{name: "ip_addr", short: "i", arg: "HOST", usage: "host name or address to listen on and to announce; default: loopback, or all with a secret, certificates or --insecure", own: true},
	{name: "ext_ip_addr", arg: "HOST", usage: "announced in place of ip_addr: a public address in front of this machine", own: true},
	{name: "tcp_port", short: "t", arg: "PORT", usage: "port to listen on; default: any that is free"},
	{name: "tcp_ports", arg: "PORTS", usage: "ports of the servers, N or LOW-HIGH; may be repeated; more servers go on beyond the highest"},
	{name: "udp_port", short: "u", arg: "PORT", usage: "port of discovery on the local network; less than 0: none"},
	{name: "name", short: "n", arg: "NAME", usage: "what others see; default: the host's name", own: true},
	{name: "peer", arg: "HOST:PORT", usage: "a scheduler or another peer to be connected to, for ever; may be repeated"},
	{name: "discover_peers", usage: "look for peers on the local network at the start; the default of a scheduler, not of a node"},
	{name: "node", arg: "HOST:PORT", usage: "a node in another network; may be repeated; one of each network is enough where discovery works there"},
	{name: "dest_path", arg: "FOLDER", usage: "where received files and the servers' folders go; default: a private folder that is removed at the end"},
	{name: "max_file_size", arg: "BYTES", usage: "the largest file that is taken; 0, the default: no limit"},
	{name: "max_message", arg: "BYTES", usage: "the largest message, argument or result; default: 64 MiB"},
	{name: "max_mailbox", arg: "N", usage: "messages that wait in a mailbox at most; 0, the default: no limit"},
	{name: "msg_timeout", arg: "SECONDS", usage: "bound of control messages; default: 10"},
	{name: "secret", short: "s", arg: "SECRET", usage: "protects every link; whoever lists the processes sees it: better give secret_file, or DISCORO_SECRET"},
	{name: "secret_file", arg: "FILE", usage: "file with the secret"},
	{name: "certfile", arg: "FILE", usage: "certificate (PEM) of this runtime, for mutual TLS"},
	{name: "keyfile", arg: "FILE", usage: "its key (PEM), unless that is in certfile"},
	{name: "cafile", arg: "FILE", usage: "certificates (PEM) of who signs those of others"},
	{name: "insecure", usage: "be reached from other machines with neither secret nor certificates: whoever reaches the port can run functions"},
	{name: "min_pulse_interval", arg: "SECONDS", usage: "the least that computations may ask for; default: 10"},
	{name: "max_pulse_interval", arg: "SECONDS", usage: "the most that computations may ask for; default: 100"},
	{name: "zombie_period", arg: "SECONDS", usage: "a computation that has run nothing for so long is closed; 0: never"},
	{name: "ping_interval", arg: "SECONDS", usage: "how often to look for nodes that have come since; 0: never"},
	{name: "serve", arg: "N", usage: "leave after N computations; -1, the default: no limit"},
	{name: "service_start", arg: "HH:MM", usage: "time of day from which computations are taken; default: now"},
	{name: "service_stop", arg: "HH:MM", usage: "time of day from which nothing new is taken"},
	{name: "service_end", arg: "HH:MM", usage: "time of day at which what runs is terminated"},
	{name: "phoenix", usage: "end a node of this name that runs on this machine already, and take its place"},
	{name: "daemon", usage: "read no commands from standard input"},
	{name: "debug", short: "d", usage: "log more"},
	{name: "config", arg: "FILE", usage: "take options from FILE, which save_config has written", own: true},
	{name: "save_config", arg: "FILE", usage: "write the options to FILE and end; not those that belong to one machine: ip_addr, ext_ip_addr, name", own: true},
}

// commonOptions are options of both programs that no Config has.
type commonOptions struct {
	SecretFile string `json:"secret_file"`
	Daemon     bool   `json:"daemon"`
	Debug      bool   `json:"debug"`
	File       string `json:"config"`
	Save       string `json:"save_config"`
}

// fields finds the fields of the struct that cfg points to, by their tags.
func fields(cfg any) map[string]reflect.Value {
	v := reflect.ValueOf(cfg).Elem()
	found := map[string]reflect.Value{}
	for _, f := range reflect.VisibleFields(v.Type()) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" && f.IsExported() {
			found[name] = v.FieldByIndex(f.Index)
		}
	}
	return found
}

// setField sets a field to what texts say: one, or for a list any number, each of which may be several with commas.
func setField(v reflect.Value, texts []string) error {
	if v.Kind() == reflect.Slice {
		var list []string
		for _, text := range texts {
			for item := range strings.SplitSeq(text, ",") {
				if item = strings.TrimSpace(item); item == "" {
					return errors.New("an empty one is in the list")
				}
				list = append(list, item)
			}
		}
		v.Set(reflect.ValueOf(list))
		return nil
	}
	text := texts[len(texts)-1] // the last one counts
	switch v.Interface().(type) {
	case string:
		v.SetString(text)
	case bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return errors.New("want true or false")
		}
		v.SetBool(b)
	case time.Duration:
		d, err := parseSeconds(text)
		if err != nil {
			return err
		}
		v.SetInt(int64(d))
	default:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || v.OverflowInt(n) {
			return errors.New("want a whole number")
		}
		v.SetInt(n)
	}
	return nil
}

// parseSeconds reads a number of seconds, or a duration as Go writes it.
func parseSeconds(text string) (time.Duration, error) {
	if d, err := time.ParseDuration(text); err == nil {
		return d, nil
	}
	s, err := strconv.ParseFloat(text, 64)
	if ns := s * float64(time.Second); err == nil && math.Abs(ns) < math.MaxInt64 {
		return time.Duration(ns), nil
	}
	return 0, errors.New("want a number of seconds, or a duration such as 1m30s")
}

// fieldError says what is wrong with one field of a configuration.
type fieldError struct {
	of, field string
	err       error
}

// Error names the field.
func (e *fieldError) Error() string { return fmt.Sprintf("discoro: %s.%s: %v", e.of, e.field, e.err) }

// Unwrap gives what is wrong.
func (e *fieldError) Unwrap() error { return e.err }

// tag returns the option that sets the field, among those of the struct that cfg points to; empty when there is none.
func (e *fieldError) tag(cfg any) string {
	if f, ok := reflect.TypeOf(cfg).Elem().FieldByName(e.field); ok {
		return f.Tag.Get("json")
	}
	return ""
}
