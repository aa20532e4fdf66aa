package test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/discoro/discoro"
)

// fileRead returns the content of a file in the computation's folder.
var fileRead = discoro.Register("file.read", func(c *discoro.Coro, name string) (string, error) {
	text, err := os.ReadFile(filepath.Join(c.Dir(), filepath.FromSlash(name)))
	return string(text), err
})

// fileDir returns the path of the computation's folder.
var fileDir = discoro.Register("file.dir", func(c *discoro.Coro, _ discoro.None) (string, error) {
	return c.Dir(), nil
})

// fileTo is a file and where it is sent.
type fileTo struct {
	Name, Text string
	To         discoro.Location
}

// fileSend writes a file into the computation's folder and sends it to another runtime.
var fileSend = discoro.Register("file.send", func(c *discoro.Coro, f fileTo) (discoro.None, error) {
	path := filepath.Join(c.Dir(), f.Name)
	if err := os.WriteFile(path, []byte(f.Text), 0o600); err != nil {
		return discoro.None{}, err
	}
	return discoro.None{}, c.Runtime().SendFile(c, f.To, path)
})

func (c *cluster) file(name, text string) string {
	c.Helper()
	path := filepath.Join(c.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		c.Fatal(err)
	}
	return path
}

// TestPromise13Files: files go only below the computation's folder and within the quota, and
// nothing is left when the computation has closed. That names stay below a folder is in
// TestCheckNames and TestAnswerBadNames of internal/files, in TestFileNamesOfPeers and in
// TestFileSymlinks; what a broken transfer leaves is in TestFileTransferBreaks.
func TestPromise13Files(t *testing.T) {
	t.Parallel()
	for _, processes := range []bool{false, true} {
		name := "runtimes"
		if processes {
			name = "processes"
		}
		t.Run(name, func(t *testing.T) { t.Parallel(); promiseFiles(t, processes) })
	}
}

func promiseFiles(t *testing.T, processes bool) {
	t.Helper()
	const limit = 1000
	dest := t.TempDir()
	c := newCluster(t, discoro.NodeConfig{
		Config: discoro.Config{DestPath: dest, MaxFileSize: limit}, Servers: 2, Processes: processes,
	})
	client, comp := c.client(2)
	servers, err := comp.Servers(c.ctx)
	if err != nil {
		t.Fatal(err)
	}
	path := c.file("words", "some words")
	for _, s := range servers {
		if err := client.SendFile(c.ctx, s, path, discoro.FileOptions{Dir: "in"}); err != nil {
			t.Fatal(err)
		}
		if got := clusterRunAt(c, comp, s, fileRead.With("in/words")); got != "some words" {
			t.Errorf("the server has %q", got)
		}
		large := c.file("large", strings.Repeat("x", limit+1))
		if err := client.SendFile(c.ctx, s, large); !errors.Is(err, discoro.ErrTooLarge) {
			t.Errorf("beyond the quota: %v", err)
		}
	}
	dirs := []string{
		clusterRunAt(c, comp, servers[0], fileDir.With(discoro.None{})),
		clusterRunAt(c, comp, servers[1], fileDir.With(discoro.None{})),
	}
	if dirs[0] == dirs[1] {
		t.Errorf("both servers have the folder %s", dirs[0])
	}
	// Back to the client, and from one server to the other.
	clusterRunAt(c, comp, servers[0], fileSend.With(fileTo{"result", "of the work", client.Location()}))
	if got, err := os.ReadFile(filepath.Join(client.DestPath(), "result")); string(got) != "of the work" || err != nil {
		t.Errorf("the client has %q, %v", got, err)
	}
	clusterRunAt(c, comp, servers[0], fileSend.With(fileTo{"part", "for another", servers[1]}))
	if got := clusterRunAt(c, comp, servers[1], fileRead.With("part")); got != "for another" {
		t.Errorf("the other server has %q", got)
	}
	// A stranger to the computation reaches none of its files.
	stranger := c.newClient()
	if err := stranger.SendFile(c.ctx, servers[0], path); !errors.Is(err, discoro.ErrRejected) {
		t.Errorf("a stranger's file: %v", err)
	}
	if err := stranger.DeleteFile(c.ctx, servers[0], "in/words"); !errors.Is(err, discoro.ErrRejected) {
		t.Errorf("a stranger's deletion: %v", err)
	}
	rel, err := filepath.Rel(dest, dirs[0])
	if err != nil || strings.HasPrefix(rel, "..") {
		t.Fatalf("the folder is %s: %v", dirs[0], err)
	}
	inside := filepath.ToSlash(rel) + "/in/words"
	if err := stranger.DeleteFile(c.ctx, c.node.Location(), inside); !errors.Is(err, discoro.ErrRejected) {
		t.Errorf("a stranger's deletion through the node: %v", err)
	}
	if err := client.DeleteFile(c.ctx, servers[1], "part"); err != nil {
		t.Error(err)
	}
	if got := clusterRunAt(c, comp, servers[0], fileRead.With("in/words")); got != "some words" {
		t.Errorf("after all that the server has %q", got)
	}
	if err := comp.Close(c.ctx); err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("after Close the folder %s is there: %v", dir, err)
		}
	}
	if err := client.SendFile(c.ctx, servers[0], path); err == nil {
		t.Error("a server took a file for a computation that is over")
	}
}

// TestComputationFiles has files sent to every server before it is used, and also to a server that
// replaces another.
func TestComputationFiles(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 1, Processes: true})
	tool := c.file("tool", "some text")
	if err := os.Chmod(tool, 0o700); err != nil {
		t.Fatal(err)
	}
	comp := c.computation(1, discoro.ComputationConfig{Files: []string{c.file("data", "data"), tool}})
	server := c.server(comp)
	for range 2 {
		for name, want := range map[string]string{"data": "data", "tool": "some text"} {
			if got := clusterRunAt(c, comp, c.server(comp), fileRead.With(name)); got != want {
				t.Errorf("%s has %q", name, got)
			}
		}
		dir := clusterRunAt(c, comp, c.server(comp), fileDir.With(discoro.None{}))
		if info, err := os.Stat(filepath.Join(dir, "tool")); err != nil || info.Mode()&0o100 == 0 {
			t.Errorf("the tool cannot be executed: %v, %v", info.Mode(), err)
		}
		if c.server(comp) != server {
			break // this is the second one
		}
		co, err := comp.Run(c.ctx, faultEnd.With("exit"))
		if err == nil {
			_ = co.Wait(c.ctx)
		}
		c.awaitOther(comp, server)
	}
}

// TestComputationFilesRefused checks the errors about files that cannot be sent.
func TestComputationFilesRefused(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 1, Config: discoro.Config{MaxFileSize: 3}})
	for says, files := range map[string][]string{
		"no such file":    {c.file("one", ""), filepath.Join(t.TempDir(), "nothing")},
		"no regular file": {t.TempDir()},
		"the same name":   {c.file("one", ""), c.file("ONE", "")},
		"names no file":   {""},
	} {
		_, err := discoro.NewComputation(c.sched.Runtime, discoro.ComputationConfig{Files: files})
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "ComputationConfig.Files") {
			t.Errorf("%s: %v", says, err)
		}
	}
	cfg := discoro.ComputationConfig{Files: []string{c.file("large", "1234")}}
	comp, err := discoro.NewComputation(c.sched.Runtime, cfg)
	if err == nil {
		err = comp.Schedule(c.ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	c.poll("the reason", func() bool {
		reason := c.reason(comp)
		return strings.Contains(reason, "large") && strings.Contains(reason, "MaxFileSize is 3")
	})
}
