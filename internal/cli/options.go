package cli

import (
	"errors"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// An Option is an option of a node or of a scheduler. A program has those whose names are tags of
// its configuration's fields.
type Option struct {
	Name  string // also the field's tag, the key in a configuration file, and, in capitals after DISCORO_, the variable
	Short string // one letter; empty: none
	Arg   string // what it takes, for the help; empty: nothing, it is a switch
	Usage string // for the help
	Own   bool   // belongs to one machine, or to one start: --save_config leaves it out
}

// Options lists all options in the order in which the help shows them.
var Options = []Option{
	{Name: "c", Arg: "N", Usage: "number of servers; 0, the default: one for each CPU; less than 0: all but so many CPUs"},
	{Name: "ip_addr", Short: "i", Arg: "HOST", Own: true, Usage: "host name or address to listen on and to announce; " +
		"default: loopback, or all addresses with a secret, certificates or --insecure"},
	{Name: "ext_ip_addr", Arg: "HOST", Own: true, Usage: "announce this public address instead of ip_addr"},
	{Name: "tcp_port", Short: "t", Arg: "PORT", Usage: "port to listen on; default: any free port"},
	{Name: "tcp_ports", Arg: "PORTS", Usage: "ports of the servers, N or LOW-HIGH; may be repeated; " +
		"further servers use the ports after the highest"},
	{Name: "udp_port", Short: "u", Arg: "PORT", Usage: "port for discovery on the local network; less than 0: none"},
	{Name: "name", Short: "n", Arg: "NAME", Own: true, Usage: "name that others see; default: the host's name"},
	{Name: "peer", Arg: "HOST:PORT", Usage: "a scheduler or another peer to stay connected to; may be repeated"},
	{Name: "discover_peers", Usage: "look for peers on the local network at the start; a scheduler does by default"},
	{Name: "node", Arg: "HOST:PORT", Usage: "a node in another network; may be repeated; " +
		"one node of each network is enough where discovery works there"},
	{Name: "dest_path", Arg: "FOLDER", Usage: "folder for received files and the servers' folders; " +
		"default: a private folder that is removed at the end"},
	{Name: "max_file_size", Arg: "BYTES", Usage: "size of the largest file to accept; 0, the default: no limit"},
	{Name: "max_message", Arg: "BYTES", Usage: "size of the largest message, argument or result; default: 64 MiB"},
	{Name: "max_mailbox", Arg: "N", Usage: "number of messages that may wait in a mailbox; 0, the default: no limit"},
	{Name: "msg_timeout", Arg: "SECONDS", Usage: "limit for control messages; default: 10"},
	{Name: "secret", Short: "s", Arg: "SECRET", Usage: "protects every link; the list of processes shows it: " +
		"better give secret_file, or DISCORO_SECRET"},
	{Name: "secret_file", Arg: "FILE", Usage: "file with the secret"},
	{Name: "certfile", Arg: "FILE", Usage: "certificate (PEM) of this runtime, for mutual TLS"},
	{Name: "keyfile", Arg: "FILE", Usage: "its key (PEM), unless certfile contains it"},
	{Name: "cafile", Arg: "FILE", Usage: "certificates (PEM) of the authorities that sign those of others"},
	{Name: "insecure", Usage: "let other machines reach this one with neither secret nor certificates: " +
		"anyone who reaches the port can run functions"},
	{Name: "min_pulse_interval", Arg: "SECONDS", Usage: "shortest interval that computations may ask for; default: 10"},
	{Name: "max_pulse_interval", Arg: "SECONDS", Usage: "longest interval that computations may ask for; default: 100"},
	{Name: "zombie_period", Arg: "SECONDS", Usage: "close a computation that has run nothing for this long; 0: never"},
	{Name: "ping_interval", Arg: "SECONDS", Usage: "how often to look for new nodes; 0: never"},
	{Name: "serve", Arg: "N", Usage: "leave after N computations; -1, the default: no limit"},
	{Name: "service_start", Arg: "HH:MM", Usage: "time of day from which computations are accepted; default: now"},
	{Name: "service_stop", Arg: "HH:MM", Usage: "time of day from which nothing new is accepted"},
	{Name: "service_end", Arg: "HH:MM", Usage: "time of day at which running work is terminated"},
	{Name: "phoenix", Usage: "end a node of this name that runs on this machine already, and take its place"},
	{Name: "daemon", Usage: "read no commands from standard input, and ignore the end of the terminal (SIGHUP)"},
	{Name: "debug", Short: "d", Usage: "log more, to standard error"},
	{Name: "config", Arg: "FILE", Own: true, Usage: "read options from FILE, which save_config has written"},
	{Name: "save_config", Arg: "FILE", Own: true, Usage: "write the options to FILE and end; " +
		"leave out those that belong to one machine: ip_addr, ext_ip_addr, name"},
}

// Common are the options of both programs that no configuration of a role has. A program embeds it
// in its configuration.
type Common struct {
	SecretFile string `json:"secret_file"`
	Daemon     bool   `json:"daemon"`
	Debug      bool   `json:"debug"`
	File       string `json:"config"`
	Save       string `json:"save_config"`
}

// fields returns the fields of the struct that cfg points to, by their tags.
func fields(cfg any) map[string]reflect.Value {
	v := reflect.ValueOf(cfg).Elem()
	found := map[string]reflect.Value{}
	for _, f := range reflect.VisibleFields(v.Type()) {
		if name := optionOf(f); name != "" {
			found[name] = v.FieldByIndex(f.Index)
		}
	}
	return found
}

// optionOf returns the name of the option that sets a field, which is the field's tag. It is empty
// when there is none.
func optionOf(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	if name == "-" || !f.IsExported() {
		return ""
	}
	return name
}

// setField sets a field to the value that texts stand for. A list has any number of them, each of
// which may be several with commas between; for another kind the last one counts.
func setField(v reflect.Value, texts []string) error {
	if v.Kind() == reflect.Slice {
		var list []string
		for _, text := range texts {
			for item := range strings.SplitSeq(text, ",") {
				if item = strings.TrimSpace(item); item == "" {
					return errors.New("an item of the list is empty")
				}
				list = append(list, item)
			}
		}
		v.Set(reflect.ValueOf(list))
		return nil
	}
	text := texts[len(texts)-1]
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

// parseSeconds parses a number of seconds, or a duration in Go's notation.
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
