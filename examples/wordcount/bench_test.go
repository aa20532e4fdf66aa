package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkWordcount runs the whole program on the Go source tree, from its start to its exit, and in turn a loop in
// this process that finds the same files and counts them into one map. "x-loop" is how many times as fast the program is, and
// "x-loop/cpu" that for each CPU.
func BenchmarkWordcount(b *testing.B) {
	root, err := goroot()
	if err != nil {
		b.Fatal(err)
	}
	folder := filepath.Join(root, "src")
	loop(b, folder) // so that the files are cached
	var ours, plain time.Duration
	for b.Loop() {
		runtime.GC()
		start := time.Now()
		want := loop(b, folder)
		plain += time.Since(start)
		start = time.Now()
		out, err := exec.Command(filepath.Join(built, "wordcount"), folder).Output()
		ours += time.Since(start)
		if err != nil {
			b.Fatal(err)
		}
		if words := "words=" + strconv.Itoa(want.Words); !strings.Contains(string(out), words+" ") {
			b.Fatalf("want %s, got %s", words, out)
		}
	}
	ratio := float64(plain) / float64(ours)
	b.ReportMetric(plain.Seconds()/float64(b.N), "s-loop")
	b.ReportMetric(ours.Seconds()/float64(b.N), "s-wordcount")
	b.ReportMetric(ratio, "x-loop")
	b.ReportMetric(ratio/float64(runtime.NumCPU()), "x-loop/cpu")
}

// loop is the job without discoro.
func loop(tb testing.TB, folder string) counts {
	tb.Helper()
	files, err := goFiles(folder)
	if err != nil {
		tb.Fatal(err)
	}
	total := counts{Files: len(files), Freq: map[string]int{}}
	for _, f := range files {
		text, err := os.ReadFile(f.path)
		if err != nil {
			tb.Fatal(err)
		}
		total.count(text)
	}
	mostFrequent(total.Freq, 10)
	return total
}
