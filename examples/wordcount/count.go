package main

import (
	"bytes"
	"cmp"
	"context"
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

// batch is what a server counts in one run: the contents of some files.
type batch struct {
	Texts [][]byte
	All   bool // return the rare words too
}

// counts are the words of a batch.
type counts struct {
	Files int
	Words int
	Freq  map[string]int
	Rest  int // no word that Freq lacks is more frequent than that
}

var countWords = discoro.Register("wordcount.count", func(_ *discoro.Coro, b batch) (counts, error) {
	return countBatch(b), nil
})

// countBatch is the work itself. Words are what strings.Fields returns. Most words in a text are rare,
// and cost more to send and to add up than to count. Unless All is set, countBatch leaves out words
// that make up less than a 20,000th of the batch.
func countBatch(b batch) counts {
	c := counts{Files: len(b.Texts), Freq: map[string]int{}}
	for _, text := range b.Texts {
		c.count(text)
	}
	if !b.All {
		c.leaveOut(c.Words / 20_000)
	}
	return c
}

func (c *counts) count(text []byte) {
	for word := range bytes.FieldsSeq(text) {
		c.Words++
		c.Freq[string(word)]++
	}
}

// leaveOut drops the words that are not more frequent than rest.
func (c *counts) leaveOut(rest int) {
	kept := map[string]int{}
	for word, n := range c.Freq {
		if n > rest {
			kept[word] = n
		}
	}
	c.Freq, c.Rest = kept, rest
}

// count is the whole job: it counts the files below folder through a computation of the client rt.
func count(ctx context.Context, rt *discoro.Runtime, folder string, retries int) error {
	files, err := goFiles(folder)
	if err != nil {
		return err
	}
	comp, err := discoro.NewComputation(rt)
	if err != nil {
		return err
	}
	rcs, err := discoro.NewRemoteCoroScheduler(comp, discoro.RCSConfig{Retries: retries})
	if err != nil {
		return err
	}
	var total sum
	var top []string
	for _, all := range []bool{false, true} {
		if total, err = countAll(ctx, rcs, files, all); err != nil {
			return err
		}
		var sure bool
		if top, sure = total.top(10); sure {
			break
		}
	}
	if err := rcs.Finish(ctx, true); err != nil {
		return err
	}
	for _, word := range top {
		fmt.Printf("%9d %s\n", total.Freq[word], word)
	}
	fmt.Printf("files=%d words=%d servers=%d\n", total.Files, total.Words, len(total.servers))
	return nil
}

// countAll gives each file to a server once.
func countAll(ctx context.Context, rcs *discoro.RemoteCoroScheduler, files []file, all bool) (sum, error) {
	total := sum{
		counts:  counts{Freq: map[string]int{}},
		seen:    map[string]int{},
		servers: map[discoro.Location]bool{},
	}
	var readErr error
	show := progress(len(files))
	for out := range discoro.AsCompleted(ctx, rcs, countWords, batches(files, all, &readErr)) {
		if out.Err != nil {
			return total, out.Err
		}
		total.add(out.Value)
		total.servers[out.Server] = true
		show(total.Files, total.Words)
	}
	return total, readErr
}

// sum is the counts of several batches; its Rest is that of all of them.
type sum struct {
	counts
	seen    map[string]int // for each word, the Rest of the batches whose Freq has it
	servers map[discoro.Location]bool
}

func (s *sum) add(c counts) {
	s.Files += c.Files
	s.Words += c.Words
	s.Rest += c.Rest
	for word, n := range c.Freq {
		s.Freq[word] += n
		s.seen[word] += c.Rest
	}
}

// top returns the n most frequent words, and whether that is certain: the words that batches left out
// can change nothing about it.
func (s *sum) top(n int) (words []string, sure bool) {
	words = mostFrequent(s.Freq, n)
	least := 0
	if len(words) == n {
		least = s.Freq[words[n-1]]
	}
	if s.Rest > 0 && s.Rest >= least {
		return words, false
	}
	for word, count := range s.Freq {
		if missed := s.Rest - s.seen[word]; missed > 0 && count+missed >= least {
			return words, false
		}
	}
	return words, true
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

// batchSize is the number of bytes in a batch: enough that sending costs little beside counting, and so
// few that all servers end at about the same time.
const batchSize = 4 << 20

// batches reads the files, one batch at a time, as they are asked for.
func batches(files []file, all bool, failed *error) iter.Seq[batch] {
	return func(yield func(batch) bool) {
		for len(files) > 0 {
			b := batch{All: all}
			for size := int64(0); len(files) > 0 && size < batchSize; files = files[1:] {
				text, err := os.ReadFile(files[0].path)
				if err != nil {
					*failed = fmt.Errorf("cannot read a file: %w", err)
					return
				}
				size += int64(len(text))
				b.Texts = append(b.Texts, text)
			}
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

// progress shows on a terminal how far the count has come.
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
