package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/discoro/discoro"
)

// batch is what a server counts at once: the contents of some files.
type batch struct {
	Paths []string
	Texts [][]byte
}

// counts are the words of a batch.
type counts struct {
	Words int
	Freq  map[string]int
}

var countWords = discoro.Register("wordcount.count", func(_ *discoro.Coro, b batch) (counts, error) {
	return countBatch(b), nil
})

// countBatch is the work itself; words are what strings.Fields takes for one.
func countBatch(b batch) counts {
	c := counts{Freq: map[string]int{}}
	for _, text := range b.Texts {
		for word := range bytes.FieldsSeq(text) {
			c.Words++
			c.Freq[string(word)]++
		}
	}
	return c
}

// count is the whole job.
func count(ctx context.Context, opt options) error {
	files, err := goFiles(opt.folder)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, opt.timeout)
	defer cancel()
	sched, stop, err := startCluster(opt)
	if err != nil {
		return err
	}
	err = countOn(ctx, sched.Runtime, files, opt)
	return errors.Join(err, stop())
}

// countOn counts the files through a computation of the client rt.
func countOn(ctx context.Context, rt *discoro.Runtime, files []file, opt options) error {
	comp, err := discoro.NewComputation(rt)
	if err != nil {
		return err
	}
	rcs, err := discoro.NewRemoteCoroScheduler(comp, discoro.RCSConfig{Retries: opt.retries})
	if err != nil {
		return err
	}
	var readErr error
	total := counts{Freq: map[string]int{}}
	servers := map[discoro.Location]bool{}
	show := progress(len(files))
	done := 0
	sizes := map[int]int{} // batch index to number of files
	for out := range discoro.AsCompleted(ctx, rcs, countWords, batches(files, sizes, &readErr)) {
		if out.Err != nil {
			return out.Err
		}
		total.Words += out.Value.Words
		for word, n := range out.Value.Freq {
			total.Freq[word] += n
		}
		servers[out.Server] = true
		done += sizes[out.Index]
		show(done, total.Words)
	}
	if readErr != nil {
		return readErr
	}
	if err := rcs.Finish(ctx, true); err != nil {
		return err
	}
	for _, word := range mostFrequent(total.Freq, 10) {
		fmt.Printf("%9d %s\n", total.Freq[word], word)
	}
	fmt.Printf("files=%d words=%d servers=%d\n", done, total.Words, len(servers))
	return nil
}

// file is one file to be counted.
type file struct {
	path string
	size int64
}

// goFiles lists the .go files below folder, the Go source tree when it is empty.
func goFiles(folder string) ([]file, error) {
	if folder == "" {
		root, err := goroot()
		if err != nil {
			return nil, err
		}
		folder = filepath.Join(root, "src")
	}
	var files []file
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || filepath.Ext(path) != ".go" {
			return err
		}
		info, err := d.Info()
		if err == nil {
			files = append(files, file{path, info.Size()})
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read the folder: %w", err)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no .go file below %s", folder)
	}
	return files, nil
}

func goroot() (string, error) {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("which folder? without the go command there is no Go source tree to count: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// batchSize is how many bytes a server gets at once: enough that sending costs little beside counting, and little
// enough that all the servers end at about the same time.
const batchSize = 4 << 20

// batches reads the files, a batch at a time, as they are asked for.
func batches(files []file, sizes map[int]int, failed *error) iter.Seq[batch] {
	return func(yield func(batch) bool) {
		for index := 0; len(files) > 0; index++ {
			var b batch
			for size := int64(0); len(files) > 0 && size < batchSize; files = files[1:] {
				text, err := os.ReadFile(files[0].path)
				if err != nil {
					*failed = fmt.Errorf("cannot read a file: %w", err)
					return
				}
				size += int64(len(text))
				b.Paths = append(b.Paths, files[0].path)
				b.Texts = append(b.Texts, text)
			}
			sizes[index] = len(b.Paths)
			if !yield(b) {
				return
			}
		}
	}
}

// mostFrequent returns the n most frequent words, in that order. There are many words, so they are not sorted.
func mostFrequent(freq map[string]int, n int) []string {
	before := func(a, b string) int {
		return cmp.Or(cmp.Compare(freq[b], freq[a]), strings.Compare(a, b))
	}
	top := make([]string, 0, n+1)
	for word, count := range freq {
		if len(top) == n && count < freq[top[n-1]] {
			continue
		}
		at, _ := slices.BinarySearchFunc(top, word, before)
		top = slices.Insert(top, at, word)
		top = top[:min(n, len(top))]
	}
	return top
}

// progress shows on a terminal how far the count is.
func progress(files int) func(done, words int) {
	info, err := os.Stderr.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return func(int, int) {}
	}
	return func(done, words int) {
		end := ""
		if done == files {
			end = "\n"
		}
		fmt.Fprintf(os.Stderr, "\r%d of %d files, %d words%s", done, files, words, end)
	}
}
