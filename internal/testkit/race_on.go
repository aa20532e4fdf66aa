//go:build race

package testkit

// RaceDetector says whether tests run under the race detector, which allows 8,128 goroutines.
const RaceDetector = true
