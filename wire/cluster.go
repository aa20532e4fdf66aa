package wire

// The frames between nodes, servers, schedulers and clients.

// Peer is the identity and the location of a runtime.
type Peer struct {
	_    struct{} `cbor:",toarray"`
	ID   ID
	Host string
	Port int
}

// ServerInfo is one server of a node.
type ServerInfo struct {
	_    struct{} `cbor:",toarray"`
	Peer Peer
	Name string
	PID  int
}

// Offer describes a node. The node sends it to each scheduler that it has a link to, and again when
// something in it changes.
type Offer struct {
	_         struct{} `cbor:",toarray"`
	Node      Peer
	Name      string
	Platform  string
	CPUs      int      // how many servers it has, or will have when all have started
	Memory    uint64   // bytes available
	Disk      uint64   // bytes free
	Free      bool     // it serves no computation
	Reason    string   // why it is not free, or why it is leaving
	Functions []string // the names of its registered functions, sorted
	Build     string
	Leaving   bool  // it takes no new jobs, and wants a Release when it runs none
	MinPulse  int64 // the least time between signs of life that it accepts, in nanoseconds
	MaxPulse  int64 // the most
	Zombie    int64 // it wants a Release after that long without a job, in nanoseconds; 0: never
}

// Reserve asks a node to serve a computation. The node answers with [Servers] as they come up, or
// with [Released].
type Reserve struct {
	_         struct{} `cbor:",toarray"`
	Token     Token
	Client    Peer
	Scheduler Peer
	Pulse     int64
}

// Servers reports to the scheduler that servers of the node have come up or gone. If Up and Gone
// are empty, Reason is why no server comes up.
type Servers struct {
	_      struct{} `cbor:",toarray"`
	Token  Token
	Up     []ServerInfo
	Gone   []ServerInfo
	Reason string
}

// Release asks a node to end its service to a computation. With Over the computation is closing.
// Otherwise it goes on without the node, whose servers wait until the client has received
// everything that they sent.
type Release struct {
	_     struct{} `cbor:",toarray"`
	Token Token
	Over  bool
}

// Released reports that all servers of the node have closed. Without a Release before it, the node
// has refused to serve, or has ended its service by itself.
type Released struct {
	_      struct{} `cbor:",toarray"`
	Token  Token
	Reason string
}

// ServerUp introduces a server to its node.
type ServerUp struct {
	_         struct{} `cbor:",toarray"`
	Index     int      // that the node gave it; -1: nobody started it
	Nonce     Token    // that the node gave it
	Info      ServerInfo
	Functions []string
}

// Setup asks a server to serve a computation.
type Setup struct {
	_         struct{} `cbor:",toarray"`
	Token     Token
	Node      Peer
	Client    Peer
	Scheduler Peer
	Pulse     int64
}

// Ready reports to the scheduler that a server is set up. With Err it reports that the server
// cannot be set up, or can no longer be used.
type Ready struct {
	_     struct{} `cbor:",toarray"`
	Token Token
	Node  ID
	Info  ServerInfo
	Err   *Failure
}

// CloseServer ends a computation at a server. Over is that of [Release]: the server does not wait
// for the client.
type CloseServer struct {
	_     struct{} `cbor:",toarray"`
	Token Token
	Over  bool
}

// ServerDone reports that a computation has ended at a server. Stuck names functions that do not
// end.
type ServerDone struct {
	_     struct{} `cbor:",toarray"`
	Token Token
	Stuck []string
}

// Submit queues a computation at a scheduler. It is answered when the computation is active.
type Submit struct {
	_         struct{} `cbor:",toarray"`
	Call      uint64
	Token     Token
	Client    Peer
	Name      string
	Functions []string
	Pulse     int64 // the time between signs of life, in nanoseconds; 0: as usual
	Ping      int64 // how often the scheduler looks for nodes, in nanoseconds; 0: as usual
	Zombie    int64 // it closes after that long without a run, in nanoseconds; 0: as usual
	Filters   []NodeFilter
}

// NodeFilter says which nodes a computation uses.
type NodeFilter struct {
	_        struct{} `cbor:",toarray"`
	Addr     string   // a pattern for the address
	Platform string   // a pattern for the platform
	CPUs     int      // the least number of servers
	Memory   uint64   // the least bytes available
	Disk     uint64   // the least bytes free
}

// CloseComputation closes a computation. If Call is not 0, it is answered when all its servers have
// closed.
type CloseComputation struct {
	_     struct{} `cbor:",toarray"`
	Call  uint64
	Token Token
}

// Where says which servers may run a job. The zero Where means any server.
type Where struct {
	_    struct{} `cbor:",toarray"`
	Node string   // the location of a node, or a host: the least loaded server there
	Host string   // with Port: the server at that location
	Port int
}

// Run asks the scheduler to run a function at a server.
type Run struct {
	_     struct{} `cbor:",toarray"`
	Token Token
	Job   JobID
	Where Where
	Lane  uint64 // a server runs the jobs of one lane one at a time, in order; 0: at once
	Call  FuncCall
}

// FuncCall is a function's name and its encoded argument.
type FuncCall struct {
	_      struct{} `cbor:",toarray"`
	Func   string
	Type   string // the name of the argument's type; set for calls by name
	Strict bool   // the client did not know the argument's type: decode it strictly
	Arg    []byte `cbor:"-"` // behind the array
}

// Unrun asks the scheduler not to start Job if it still waits for a server.
type Unrun struct {
	_     struct{} `cbor:",toarray"`
	Token Token
	Job   JobID
}

// Unstart asks a server not to start Job, which waits there in its lane. A Done follows. It has no
// effect on a job that has started.
type Unstart struct {
	_     struct{} `cbor:",toarray"`
	Token Token
	Job   JobID
}

// Tally asks a server how many coroutines it has. It is answered with an int.
type Tally struct {
	_    struct{} `cbor:",toarray"`
	Call uint64
}

// Report asks the scheduler what a computation, or one of its runs, waits for. It is answered in
// words.
type Report struct {
	_     struct{} `cbor:",toarray"`
	Call  uint64
	Token Token
	Job   JobID // zero: the computation
}

// Start starts a job at a server.
type Start struct {
	_     struct{} `cbor:",toarray"`
	Token Token
	Job   JobID
	Lane  uint64 // as in Run
	Call  FuncCall
}

// Started notifies the client that its job has started, and which coroutine runs it.
type Started struct {
	_      struct{} `cbor:",toarray"`
	Token  Token
	Job    JobID
	Coro   HandleValue
	Server Peer
	At     int64 // Unix time in nanoseconds
}

// Done notifies the client how its job has ended.
type Done struct {
	_       struct{} `cbor:",toarray"`
	Token   Token
	Job     JobID
	Outcome Outcome
}

// Freed reports to the scheduler that a job has ended.
type Freed struct {
	_     struct{} `cbor:",toarray"`
	Token Token
	Job   JobID
}

// Heard reports to the scheduler that the client knows the end of the next Jobs jobs, in the order
// of their Freed frames. With 0 jobs it reports that files arrive at the server, which is therefore
// not idle.
type Heard struct {
	_     struct{} `cbor:",toarray"`
	Token Token
	Jobs  uint64
}

// Unheard notifies the client of a job that ended at a server before that server was lost or
// closed. If the client has not received the Started of the job, it will not receive its Done
// either, and the job has failed.
type Unheard struct {
	_     struct{} `cbor:",toarray"`
	Token Token
	Job   JobID
	Err   *Failure
}

// Status notifies the client that a node, a server or its computation has changed state.
type Status struct {
	_      struct{} `cbor:",toarray"`
	Token  Token
	What   uint8 // one of the Status constants
	Node   string
	Server Peer
	Reason string
}

// Avail is what a node has to spare. The scheduler fills in Node and passes it on to the client.
type Avail struct {
	_      struct{} `cbor:",toarray"`
	Token  Token
	Node   string
	CPU    float64 // percent idle
	Memory uint64  // bytes available
	Disk   uint64  // bytes free
	Swap   float64 // percent free
}

// Queued notifies the client of the position of its computation in the queue. The next one to
// become active has position 1.
type Queued struct {
	_        struct{} `cbor:",toarray"`
	Token    Token
	Position int
}

// Near asks a node for the nodes of its local network. It is answered with a list of their
// locations, as texts.
type Near struct {
	_    struct{} `cbor:",toarray"`
	Call uint64
}

// newClusterFrame returns an empty frame of kind k; nil if k is not one of clusterFrames.
func newClusterFrame(k Kind) Frame {
	if fresh, ok := clusterFrames[k]; ok {
		return fresh()
	}
	return nil
}

var clusterFrames = map[Kind]func() Frame{
	KindOffer:            func() Frame { return &Offer{} },
	KindReserve:          func() Frame { return &Reserve{} },
	KindServers:          func() Frame { return &Servers{} },
	KindRelease:          func() Frame { return &Release{} },
	KindReleased:         func() Frame { return &Released{} },
	KindServerUp:         func() Frame { return &ServerUp{} },
	KindSetup:            func() Frame { return &Setup{} },
	KindReady:            func() Frame { return &Ready{} },
	KindCloseServer:      func() Frame { return &CloseServer{} },
	KindServerDone:       func() Frame { return &ServerDone{} },
	KindSubmit:           func() Frame { return &Submit{} },
	KindCloseComputation: func() Frame { return &CloseComputation{} },
	KindRun:              func() Frame { return &Run{} },
	KindUnrun:            func() Frame { return &Unrun{} },
	KindReport:           func() Frame { return &Report{} },
	KindTally:            func() Frame { return &Tally{} },
	KindStart:            func() Frame { return &Start{} },
	KindUnstart:          func() Frame { return &Unstart{} },
	KindStarted:          func() Frame { return &Started{} },
	KindDone:             func() Frame { return &Done{} },
	KindFreed:            func() Frame { return &Freed{} },
	KindHeard:            func() Frame { return &Heard{} },
	KindUnheard:          func() Frame { return &Unheard{} },
	KindStatus:           func() Frame { return &Status{} },
	KindAvail:            func() Frame { return &Avail{} },
	KindQueued:           func() Frame { return &Queued{} },
	KindNear:             func() Frame { return &Near{} },
}

// Kind implements [Frame].
func (*Offer) Kind() Kind { return KindOffer }

// Kind implements [Frame].
func (*Reserve) Kind() Kind { return KindReserve }

// Kind implements [Frame].
func (*Servers) Kind() Kind { return KindServers }

// Kind implements [Frame].
func (*Release) Kind() Kind { return KindRelease }

// Kind implements [Frame].
func (*Released) Kind() Kind { return KindReleased }

// Kind implements [Frame].
func (*ServerUp) Kind() Kind { return KindServerUp }

// Kind implements [Frame].
func (*Setup) Kind() Kind { return KindSetup }

// Kind implements [Frame].
func (*Ready) Kind() Kind { return KindReady }

// Kind implements [Frame].
func (*CloseServer) Kind() Kind { return KindCloseServer }

// Kind implements [Frame].
func (*ServerDone) Kind() Kind { return KindServerDone }

// Kind implements [Frame].
func (*Submit) Kind() Kind { return KindSubmit }

// Kind implements [Frame].
func (*CloseComputation) Kind() Kind { return KindCloseComputation }

// Kind implements [Frame].
func (*Run) Kind() Kind { return KindRun }

// Kind implements [Frame].
func (*Unrun) Kind() Kind { return KindUnrun }

// Kind implements [Frame].
func (*Tally) Kind() Kind { return KindTally }

// Kind implements [Frame].
func (*Report) Kind() Kind { return KindReport }

// Kind implements [Frame].
func (*Start) Kind() Kind { return KindStart }

// Kind implements [Frame].
func (*Started) Kind() Kind { return KindStarted }

// Kind implements [Frame].
func (*Done) Kind() Kind { return KindDone }

// Kind implements [Frame].
func (*Unstart) Kind() Kind { return KindUnstart }

// Kind implements [Frame].
func (*Freed) Kind() Kind { return KindFreed }

// Kind implements [Frame].
func (*Heard) Kind() Kind { return KindHeard }

// Kind implements [Frame].
func (*Unheard) Kind() Kind { return KindUnheard }

// Kind implements [Frame].
func (*Status) Kind() Kind { return KindStatus }

// Kind implements [Frame].
func (*Avail) Kind() Kind { return KindAvail }

// Kind implements [Frame].
func (*Queued) Kind() Kind { return KindQueued }

// Kind implements [Frame].
func (*Near) Kind() Kind { return KindNear }
