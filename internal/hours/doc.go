// Package hours decides what a node does at a time of day, by its hours of service.
//
// The package is pure. It has no clock: the caller brings the time.
package hours
