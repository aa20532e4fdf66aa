package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/discoro/discoro/internal/fault"
)

const (
	maxConfigFile = 1 << 20  // bytes
	maxSecretFile = 64 << 10 // bytes
)

// readFile reads a configuration file: a JSON object with options by name.
func (f *Flags) readFile(name string) error {
	text, err := readBounded(name, maxConfigFile)
	if err != nil {
		return badUse("--config: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var values map[string]any
	if err := dec.Decode(&values); err != nil {
		return badUse("--config: %s is not a JSON object: %w", name, err)
	}
	given := map[string][]string{}
	f.given[fromFile] = given
	own := map[string]bool{"config": true, "save_config": true}
	for key, value := range values {
		if !f.fields[key].IsValid() || own[key] {
			return badUse("--config: %s: there is no option %.40q", name, key)
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
				// The value is not shown, as it may be the secret.
				return badUse("--config: %s: option %s is neither text, number, true, false, nor a list of them", name, key)
			}
		}
	}
	return nil
}

// save writes the options that were given to a file that only its owner may read. It leaves out
// those that belong to one machine, and a secret that came from a variable, which stays there.
func (f *Flags) save(name string) error {
	values := map[string]any{}
	for _, o := range f.options() {
		from := f.source(o.Name)
		if o.Own || from == fromDefault || o.Name == "secret" && from == fromEnv {
			continue
		}
		values[o.Name] = f.fields[o.Name].Interface()
		if d, ok := values[o.Name].(time.Duration); ok {
			values[o.Name] = d.Seconds()
		}
	}
	text, err := json.MarshalIndent(values, "", "\t")
	if err != nil {
		return err
	}
	return writePrivate(name, append(text, '\n'))
}

// readSecret reads a secret from a file, without the end of its line.
func readSecret(name string) (string, error) {
	text, err := readBounded(name, maxSecretFile)
	if err != nil {
		return "", badUse("secret_file: %w", err)
	}
	secret := strings.TrimRight(string(text), "\r\n")
	if secret == "" {
		return "", badUse("secret_file: %s is empty", name)
	}
	return secret, nil
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
		err = fmt.Errorf("%s is larger than %d bytes: %w", name, limit, fault.TooLarge)
	}
	return text, err
}

// writePrivate writes a file that only its owner may read, completely or not at all.
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

// othersMayRead reports whether other users of this machine may read a file. It returns false on
// systems without such modes.
func othersMayRead(name string) bool {
	info, err := os.Stat(name)
	return err == nil && filepath.Separator == '/' && info.Mode().Perm()&0o077 != 0
}
