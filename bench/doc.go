// Package bench measures discoro beside other ways for processes to talk; see README.md. It has only benchmarks.
package bench
