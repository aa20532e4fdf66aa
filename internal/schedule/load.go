package schedule

import "container/heap"

// nodeHeap holds the nodes with usable servers, the least loaded first: those with the fewest jobs
// for each usable server.
type nodeHeap []*node

// lessLoaded compares jobs for each usable server, without a division.
func lessLoaded(a, b *node) bool {
	return a.load*b.usable < b.load*a.usable
}

func (h nodeHeap) Len() int           { return len(h) }
func (h nodeHeap) Less(i, j int) bool { return lessLoaded(h[i], h[j]) }
func (h nodeHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *nodeHeap) Push(x any) {
	n, _ := x.(*node)
	n.index = len(*h)
	*h = append(*h, n)
}

// Pop implements heap.Interface.
func (h *nodeHeap) Pop() any {
	old := *h
	n := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	n.index = -1
	return n
}

// add makes a server usable.
func (h *nodeHeap) add(sv *server) {
	n := sv.node
	heap.Push(&n.ready, sv)
	n.usable++
	if n.index < 0 {
		heap.Push(h, n)
	} else {
		heap.Fix(h, n.index)
	}
}

// remove makes a server unusable.
func (h *nodeHeap) remove(sv *server) {
	n := sv.node
	if sv.index < 0 {
		return
	}
	heap.Remove(&n.ready, sv.index)
	n.usable--
	switch {
	case n.index < 0:
	case n.usable == 0:
		heap.Remove(h, n.index)
	default:
		heap.Fix(h, n.index)
	}
}

// addLoad adds to the number of jobs at a server, whether or not it is usable.
func (h *nodeHeap) addLoad(sv *server, jobs int) {
	sv.load += jobs
	sv.node.load += jobs
	if sv.index >= 0 {
		heap.Fix(&sv.node.ready, sv.index)
	}
	if sv.node.index >= 0 {
		heap.Fix(h, sv.node.index)
	}
}

// serverHeap holds the usable servers of a node, the least loaded first.
type serverHeap []*server

func (h serverHeap) Len() int           { return len(h) }
func (h serverHeap) Less(i, j int) bool { return h[i].load < h[j].load }
func (h serverHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *serverHeap) Push(x any) {
	sv, _ := x.(*server)
	sv.index = len(*h)
	*h = append(*h, sv)
}

// Pop implements heap.Interface.
func (h *serverHeap) Pop() any {
	old := *h
	sv := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	sv.index = -1
	return sv
}
