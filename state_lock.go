package discoro

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/discoro/discoro/internal/fault"
)

// stateLock is a locked file that says which node of a name runs for a user of this machine. The system unlocks it when its
// process ends, however that happens. The file stays: removing a locked file would let two have it.
type stateLock struct{ f *os.File }

// holder is what the file says of the process that has locked it; for people, as it may be old.
type holder struct {
	PID      int    `json:"pid"`
	Location string `json:"location"`
}

// How long a node has to end that is asked to, before it is killed, and then.
const (
	phoenixAsks  = defaultGrace + 2*closeGrace
	phoenixKills = 5 * time.Second
	phoenixEnds  = time.Second / 2
	phoenixLooks = 20 * time.Millisecond
)

// What comes of a lock that another process has, and when the system does not say which.
var (
	errHeld   = errors.New("it is locked by another process")
	errNobody = errors.New("the system does not say which process that is")
)

// lockState locks the file of a name. phoenix ends who has it, and waits for that, at most until a signal comes or ctx ends.
func lockState(ctx context.Context, signals <-chan os.Signal, name string, phoenix bool, log *slog.Logger) (*stateLock, error) {
	dir, err := stateFolder()
	if err != nil {
		return nil, fault.Because(err, "no folder for the state of node %s", name)
	}
	path := filepath.Join(dir, stateFile(name))
	l, err := openLock(path)
	if phoenix && errors.Is(err, errHeld) {
		l, err = takeOver(ctx, signals, path, phoenixAsks, log)
	}
	switch {
	case err == nil:
		return l, nil
	case !errors.Is(err, errHeld):
		return nil, fault.Because(err, "lock %s", path)
	case phoenix:
		return nil, fault.Because(err, "node %s, %s, cannot be ended", name, heldBy(path))
	}
	return nil, fmt.Errorf("discoro: node %s runs on this machine already, %s: give this one another --name, or end that one, which --phoenix does: %w",
		name, heldBy(path), ErrExists)
}

// stateFolder returns a folder of the user's own: of this machine's where there is one, else of the user's, else a temporary one.
func stateFolder() (string, error) {
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

// stateFile returns the name of a file: several hosts may share the folder, and names may have any characters.
func stateFile(name string) string {
	plain := strings.Map(func(r rune) rune {
		if r < 128 && (r == '-' || r == '.' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z') {
			return r
		}
		return '_'
	}, name)
	sum := sha256.Sum256([]byte(defaultName() + "\x00" + name))
	return fmt.Sprintf("node-%.60s-%x.lock", plain, sum[:4])
}

// openLock opens and locks a file; errHeld when another process has it.
func openLock(path string) (*stateLock, error) {
	f, err := lockFile(path)
	if err != nil {
		return nil, err
	}
	_ = f.Truncate(0) // what a node that was killed has left there would be taken for this one's; it is for people only
	return &stateLock{f}, nil
}

// takeOver ends the process that has locked a file: asks it to, and kills it when it has not after a while. Which process that is, the
// system says, not the file.
func takeOver(ctx context.Context, signals <-chan os.Signal, path string, asks time.Duration, log *slog.Logger) (*stateLock, error) {
	log.Warn("ending the node that runs", slog.String("which", heldBy(path)))
	for _, step := range []struct {
		end  func(*os.Process) error
		wait time.Duration
	}{{askToEnd, asks}, {(*os.Process).Kill, phoenixKills}} {
		err := signalHolder(path, step.end)
		if errors.Is(err, errNobody) {
			step.wait = phoenixEnds // it may have ended just now
		} else if err != nil {
			return nil, errors.Join(errHeld, err)
		}
		l, e := awaitLock(ctx, signals, path, step.wait)
		if !errors.Is(e, errHeld) {
			return l, e
		}
		if err != nil {
			return nil, errors.Join(errHeld, err)
		}
	}
	return nil, errHeld
}

// awaitLock tries for a while. Nothing tells when a lock is free.
func awaitLock(ctx context.Context, signals <-chan os.Signal, path string, wait time.Duration) (*stateLock, error) {
	look := time.NewTicker(phoenixLooks)
	defer look.Stop()
	for end := time.Now().Add(wait); ; {
		if l, err := openLock(path); !errors.Is(err, errHeld) || time.Now().After(end) {
			return l, err
		}
		select {
		case <-look.C:
		case s := <-signals:
			return nil, &exitError{exitForced, fmt.Errorf("%v came while it waited for another node to end", s)}
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for another node to end: %w", context.Cause(ctx))
		}
	}
}

// note writes who has the lock. It is for people only, so nothing depends on it.
func (l *stateLock) note(loc Location) {
	text, err := json.Marshal(holder{os.Getpid(), loc.String()})
	if err == nil && l.f.Truncate(0) == nil {
		_, _ = l.f.WriteAt(append(text, '\n'), 0)
	}
}

// unlock gives the lock back.
func (l *stateLock) unlock() {
	_ = l.f.Truncate(0)
	_ = l.f.Close() // which unlocks it
}

// heldBy says in words who has locked a file.
func heldBy(path string) string {
	var h holder
	if text, err := readBounded(path, 4096); err == nil && json.Unmarshal(text, &h) == nil && h.PID != 0 {
		return fmt.Sprintf("process %d at %.300s", h.PID, h.Location)
	}
	return "which does not say yet where"
}
