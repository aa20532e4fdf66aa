package avail

import (
	"os"
	"path/filepath"
	"testing"
)

func TestRead(t *testing.T) {
	t.Parallel()
	a := Read(t.TempDir())
	if a.CPU < 0 || a.CPU > 100 || a.Swap < 0 || a.Swap > 100 || a.Memory == 0 || a.Memory == noLimit || a.Disk == 0 {
		t.Errorf("%+v", a)
	}
	if a := Read(filepath.Join(t.TempDir(), "gone")); a.Disk != 0 {
		t.Errorf("a folder that is not there has %d bytes free", a.Disk)
	}
}

func TestCgroupMemory(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		files map[string]string
		want  uint64
	}{
		"none":      {nil, noLimit},
		"no limit":  {map[string]string{"memory.max": "max\n", "memory.current": "100\n"}, noLimit},
		"version 2": {map[string]string{"memory.max": "1000\n", "memory.current": "700\n", "memory.stat": "anon 400\ninactive_file 200\n"}, 500},
		"no stat":   {map[string]string{"memory.max": "1000\n", "memory.current": "700\n"}, 300},
		"beyond":    {map[string]string{"memory.max": "1000\n", "memory.current": "1700\n"}, 0},
		"all cache": {map[string]string{"memory.max": "1000\n", "memory.current": "700\n", "memory.stat": "inactive_file 900\n"}, 1000},
		"version 1": {map[string]string{
			"memory/memory.limit_in_bytes": "1000\n", "memory/memory.usage_in_bytes": "700\n", "memory/memory.stat": "total_inactive_file 100\n",
		}, 400},
		"no number": {map[string]string{"memory.max": "many\n", "memory.current": "700\n"}, noLimit},
	} {
		root := t.TempDir()
		for file, text := range tt.files {
			path := filepath.Join(root, file)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := cgroupMemory(root); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}
