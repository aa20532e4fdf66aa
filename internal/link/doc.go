// Package link connects a runtime to other runtimes.
package link
