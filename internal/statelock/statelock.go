package statelock

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/discoro/discoro/internal/fault"
)

// How long Acquire waits for a process that it ends.
const (
	killWait = 5 * time.Second       // after it was killed
	goneWait = time.Second / 2       // when no process has the lock any more
	lookWait = 20 * time.Millisecond // between two looks at the lock: nothing announces that it is free
	maxText  = 4096                  // bytes of a lock's file that are read
)

var (
	errHeld   = errors.New("it is locked by another process")
	errNobody = errors.New("the system does not say which process that is")
)

// Config says which lock [Acquire] acquires, and how.
type Config struct {
	Name    string           // of the node
	Phoenix bool             // end the process that has the lock, and wait for its end
	Grace   time.Duration    // how long that process has to end before it is killed
	Signals <-chan os.Signal // a signal ends the wait; nil: none does
	Log     *slog.Logger     // receives a line when another process is ended
}

// A Lock is a locked file. It says for people which process has locked it, and where that node is.
//
// The file is never removed: two processes could each lock a file of that name, one of them the
// removed one.
type Lock struct {
	f *os.File // immutable
}

// holder is the text of a locked file. It may be out of date.
type holder struct {
	PID      int    `json:"pid"`
	Location string `json:"location"`
}

// InterruptError is the error of [Acquire] when a signal ended its wait for another node to end.
type InterruptError struct{ Signal os.Signal }

// Error names the signal.
func (e *InterruptError) Error() string {
	return fmt.Sprintf("%v came while it waited for another node to end", e.Signal)
}

// Acquire locks the file of a node's name. When another process has it, the error is
// [fault.Exists]; with cfg.Phoenix that process is ended instead. It is then asked to end, and
// killed when it has not ended within cfg.Grace. Acquire waits for its end, or until ctx ends, or a
// signal arrives, with an [InterruptError].
func Acquire(ctx context.Context, cfg Config) (*Lock, error) {
	dir, err := folder()
	if err != nil {
		return nil, fault.Because(err, "no folder for the state of node %s", cfg.Name)
	}
	path := filepath.Join(dir, fileName(cfg.Name))
	l, err := open(path)
	if cfg.Phoenix && errors.Is(err, errHeld) {
		l, err = takeOver(ctx, path, cfg)
	}
	switch {
	case err == nil:
		return l, nil
	case !errors.Is(err, errHeld):
		return nil, fault.Because(err, "lock %s", path)
	case cfg.Phoenix:
		return nil, fault.Because(err, "node %s, %s, cannot be ended", cfg.Name, heldBy(path))
	}
	return nil, fmt.Errorf("discoro: node %s runs on this machine already, %s: give this one another --name, "+
		"or end that one, which --phoenix does: %w", cfg.Name, heldBy(path), fault.Exists)
}

// Note writes into the file which process has the lock, and where its node is. Errors are ignored,
// as nothing depends on the text.
func (l *Lock) Note(location string) {
	text, err := json.Marshal(holder{os.Getpid(), location})
	if err == nil && l.f.Truncate(0) == nil {
		_, _ = l.f.WriteAt(append(text, '\n'), 0)
	}
}

// Unlock releases the lock.
func (l *Lock) Unlock() {
	_ = l.f.Truncate(0)
	_ = l.f.Close() // which unlocks it
}

// takeOver ends the process that has locked a file, and locks the file.
func takeOver(ctx context.Context, path string, cfg Config) (*Lock, error) {
	cfg.Log.Warn("ending the node that runs", slog.String("which", heldBy(path)))
	for _, step := range []struct {
		end  func(*os.Process) error
		wait time.Duration
	}{{askToEnd, cfg.Grace}, {(*os.Process).Kill, killWait}} {
		err := signalHolder(path, step.end)
		if errors.Is(err, errNobody) {
			step.wait = goneWait // it may have ended just now
		} else if err != nil {
			return nil, errors.Join(errHeld, err)
		}
		l, e := await(ctx, path, step.wait, cfg.Signals)
		if !errors.Is(e, errHeld) {
			return l, e
		}
		if err != nil {
			return nil, errors.Join(errHeld, err)
		}
	}
	return nil, errHeld
}

// await locks a file as soon as no other process has it locked. After wait it returns errHeld.
func await(ctx context.Context, path string, wait time.Duration, signals <-chan os.Signal) (*Lock, error) {
	look := time.NewTicker(lookWait)
	defer look.Stop()
	for end := time.Now().Add(wait); ; {
		if l, err := open(path); !errors.Is(err, errHeld) || time.Now().After(end) {
			return l, err
		}
		select {
		case <-look.C:
		case s := <-signals:
			return nil, &InterruptError{s}
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for another node to end: %w", context.Cause(ctx))
		}
	}
}

// open opens and locks a file. The error is errHeld when another process has locked it.
func open(path string) (*Lock, error) {
	f, err := LockFile(path)
	if err != nil {
		return nil, err
	}
	_ = f.Truncate(0) // the text of a node that was killed would be taken for this one's
	return &Lock{f}, nil
}

// heldBy says in words which process has locked a file.
func heldBy(path string) string {
	const unknown = "which does not say yet where"
	f, err := os.Open(path)
	if err != nil {
		return unknown
	}
	defer func() { _ = f.Close() }() // it was only read
	var h holder
	text, err := io.ReadAll(io.LimitReader(f, maxText))
	if err != nil || json.Unmarshal(text, &h) != nil || h.PID == 0 {
		return unknown
	}
	return fmt.Sprintf("process %d at %.300s", h.PID, h.Location)
}

// folder returns a folder that only this user can use: of this machine where there is one, else
// the user's, else a temporary one.
func folder() (string, error) {
	dirs := []string{os.Getenv("XDG_RUNTIME_DIR")}
	if dir, err := os.UserCacheDir(); err == nil {
		dirs = append(dirs, dir)
	}
	for _, dir := range dirs {
		dir = filepath.Join(dir, "discoro")
		if filepath.IsAbs(dir) && os.MkdirAll(dir, 0o700) == nil && isPrivate(dir) {
			return dir, nil
		}
	}
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("discoro-state-%d", os.Getuid()))
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	if !isPrivate(dir) {
		return "", fmt.Errorf("%s is not this user's alone (XDG_RUNTIME_DIR names another)", dir)
	}
	return dir, nil
}

// fileName returns the name of the file of a node's name, which may have any characters. It depends
// on the host as well, as several hosts may share the folder.
func fileName(name string) string {
	plain := strings.Map(func(r rune) rune {
		if r < 128 && (r == '-' || r == '.' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z') {
			return r
		}
		return '_'
	}, name)
	host, _ := os.Hostname()
	sum := sha256.Sum256([]byte(cmp.Or(host, "discoro") + "\x00" + name))
	return fmt.Sprintf("node-%.60s-%x.lock", plain, sum[:4])
}
