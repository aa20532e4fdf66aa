// Package pb has the messages of the benchmarks as Protocol Buffers, for gRPC and protoactor-go; small.proto has them in words.
package pb
