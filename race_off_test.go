//go:build !race

package discoro

// raceDetector says that tests run under the race detector, which takes 8,128 goroutines at a time.
const raceDetector = false
